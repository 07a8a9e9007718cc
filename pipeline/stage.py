"""Run one stage over a batch: time it, end it when it is stuck, turn a failure into a row with a reason.

A codec or a model may never return. `faulthandler` watches from a thread of its own that needs no GIL, so native code
that holds it cannot stop that. The worker's death is an attempt that failed (ledger/ledger.py), which leads to
execute/isolate.py.
"""

from __future__ import annotations

import contextlib
import faulthandler
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, TypeVar

from pipeline.errors import ImageError, RefusedError, RunError
from pipeline.models.batch_size import is_out_of_memory
from pipeline.records import ImageRef, Rejected, UnitBatch

_limit = 0.0  # of this process, as the watch of faulthandler is; 0: no watch


@contextlib.contextmanager
def watching(seconds: float) -> Iterator[None]:
    """Allow `seconds` for each image that `expect` announces; after that the process exits with 1 and shows where it
    hung."""
    global _limit
    before, _limit = _limit, seconds
    try:
        yield
    finally:
        _limit = before
        faulthandler.cancel_dump_traceback_later()


def expect(images: int = 1) -> None:
    """Announce that work on this number of images begins now, and that earlier work has ended. 0: no work follows."""
    if _limit and images:
        faulthandler.dump_traceback_later(_limit * images, exit=True, file=2)
    elif _limit:
        faulthandler.cancel_dump_traceback_later()


class HasRef(Protocol):
    @property
    def ref(self) -> ImageRef: ...


In = TypeVar("In", bound=HasRef)
Out = TypeVar("Out")


def no_picture(item: HasRef) -> bytes:
    """Show nothing of a rejected image: for stages that must not, or cannot."""
    return b""


def per_image(
    batch: UnitBatch[In], stage: str, work: Callable[[In], Out], picture: Callable[[In], bytes] = no_picture
) -> UnitBatch[Out]:
    """Call `work` on every image alone. An exception rejects that image; `picture` may show it in the report."""
    started = time.perf_counter()
    items = tuple(item if isinstance(item, Rejected) else _one(item, stage, work, picture) for item in batch.items)
    return _timed(batch, items, stage, started)


def batched(
    batch: UnitBatch[In],
    stage: str,
    work: Callable[[Sequence[In]], Sequence[Out]],
    picture: Callable[[In], bytes] = no_picture,
) -> UnitBatch[Out]:
    """Call `work` on all images at once, as models want it. When that raises, try each image alone, so that only those
    at fault are rejected."""
    started = time.perf_counter()
    live = [item for item in batch.items if not isinstance(item, Rejected)]
    expect(len(live))
    try:
        answers = list(work(live)) if live else []
        if len(answers) != len(live):
            raise ImageError("wrong_count", f"{stage} answered {len(answers)} of {len(live)} images")
    except (RefusedError, RunError):
        raise
    except Exception:
        return per_image(batch, stage, lambda item: _only(work([item])), picture)
    rest = iter(answers)
    items = tuple(item if isinstance(item, Rejected) else next(rest) for item in batch.items)
    return _timed(batch, items, stage, started)


def _only(answers: Sequence[Out]) -> Out:
    if len(answers) != 1:
        raise ImageError("wrong_count", f"{len(answers)} answers for one image")
    return answers[0]


def _one(item: In, stage: str, work: Callable[[In], Out], picture: Callable[[In], bytes]) -> Out | Rejected:
    expect()
    try:
        return work(item)
    except ImageError as error:
        reason, detail = error.reason, error.detail
    except (RefusedError, RunError):
        raise
    except Exception as error:  # fail closed: whatever a codec or a model throws, the original is not passed through
        reason = "out_of_memory" if is_out_of_memory(error) else "unexpected"
        detail = f"{type(error).__name__}: {error}".splitlines()[0][:500]
    return Rejected(ref=item.ref, stage=stage, reason=reason, detail=detail, preview=picture(item))


def _timed(batch: UnitBatch[In], items: tuple[Out | Rejected, ...], stage: str, started: float) -> UnitBatch[Out]:
    expect(0)
    seconds = {**batch.seconds, stage: batch.seconds.get(stage, 0.0) + time.perf_counter() - started}
    return UnitBatch(unit=batch.unit, items=items, seconds=seconds, previews=batch.previews)
