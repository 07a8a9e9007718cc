"""Ends a worker that is stuck in one image: in a codec or a model that never returns.

`faulthandler` watches from a thread of its own that needs no GIL, so native code that holds it cannot stop that. The
worker's death is an attempt that failed (ledger.py), which leads to execute/careful.py.
"""

from __future__ import annotations

import contextlib
import faulthandler
from collections.abc import Iterator

_limit = 0.0  # of this process, as the watch of faulthandler is; 0: nobody watches


@contextlib.contextmanager
def watching(seconds: float) -> Iterator[None]:
    """Within, `expect` allows `seconds` for each image; beyond that the process exits with 1 and shows where it
    hung."""
    global _limit
    before, _limit = _limit, seconds
    try:
        yield
    finally:
        _limit = before
        faulthandler.cancel_dump_traceback_later()


def expect(images: int = 1) -> None:
    """Work on so many images begins now; what began before has ended. 0: nothing more begins for now."""
    if _limit and images:
        faulthandler.dump_traceback_later(_limit * images, exit=True, file=2)
    elif _limit:
        faulthandler.cancel_dump_traceback_later()
