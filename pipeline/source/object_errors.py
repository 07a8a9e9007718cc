"""Tell an error of one object (a row or a failed shard) from the loss of the whole store (which stops a run).

No right to read is one object's fault when another object of the store can be read at the same time: a bucket whose
credentials expired gives none. The witness is looked for after the failure, so that nothing is rejected because of a
store that was lost in between.
"""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Iterator
from typing import Final

from pipeline.storage.store import Store

_LISTED: Final = 10_000
_TRIED: Final = 16

_witnesses: dict[str, tuple[str, float]] = {}
"""URI of a store -> the object of it that could be read last, and when that read began."""
_looking = threading.Lock()


def of_one_object(store: Store, path: str, error: OSError) -> tuple[str, str] | None:
    """Return reason and detail for an error that only this object has, or None when the store itself may be lost."""
    failed = time.monotonic()
    if error.errno == errno.ENODATA:
        return "archived", "it is in an archive class such as Glacier; restore it there, then run into a new output"
    if error.errno == errno.ESTALE or (error.errno == errno.ENOENT and _is_there(store)):
        return "source_changed", "it was changed, replaced or removed after the run was planned; run into a new output"
    if isinstance(error, PermissionError) and _another_can_be_read(store, path, failed):
        return "no_read_right", "no right to read it, though other objects beside it can be read; give the right"
    return None


def _is_there(store: Store) -> bool:
    """Whether a root still lists anything: a mount that is gone does not."""
    try:
        return bool(store.list(limit=1))
    except OSError:
        return False


def _another_can_be_read(store: Store, path: str, since: float) -> bool:
    with _looking:
        known, began = _witnesses.get(store.uri, ("", 0.0))
        if known not in ("", path) and began >= since:
            return True
        for other in _candidates(store, known):
            began = time.monotonic()
            if other != path and _can_be_read(store, other):
                _witnesses[store.uri] = other, began
                return True
    return False


def _candidates(store: Store, known: str) -> Iterator[str]:
    """The last witness first; then some of what the store lists, far apart: a folder without rights is one piece."""
    if known:
        yield known
    try:
        listed = [info.path for info in store.list(limit=_LISTED) if not info.problem]
    except OSError:
        return
    yield from listed[:: max(1, len(listed) // _TRIED)]


def _can_be_read(store: Store, path: str) -> bool:
    try:
        store.read_range(path, 0, 1)
    except OSError:
        return False
    return True
