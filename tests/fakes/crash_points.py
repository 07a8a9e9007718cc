"""Named points at which a run can be killed, set by patching methods: the product contains no code for it.

A folder, named in the environment, holds the armed point and the hits at which it kills. Hits are counted over all
processes and runs, so that a point kills once.
"""

from __future__ import annotations

import functools
import json
import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.ledger import finish_checks
from pipeline.source.unit import UnitBuilder
from pipeline.storage.local import LocalBackend
from pipeline.storage.store import Store

FOLDER = "SEGFILL_TEST_POINTS"


@dataclass(frozen=True)
class Point:
    """Before or after a call of `owner.method`. here: whether a call with these arguments counts."""

    owner: Any
    method: str
    after: bool
    here: Callable[..., bool] = lambda *_, **__: True


def _path(prefix: str) -> Callable[..., bool]:
    return lambda path, data: path.startswith(prefix)


def _paths(prefix: str) -> Callable[..., bool]:
    return lambda paths: any(path.startswith(prefix) for path in paths)


def _everything(prefix: str = "", limit: int = 0, **_: object) -> bool:
    return not prefix and not limit


def _after_create(prefix: str) -> Point:
    return Point(Store, "create_with_etag", True, _path(prefix))


def _before_create(prefix: str) -> Point:
    return Point(Store, "create_with_etag", False, _path(prefix))


WORKER = {
    "after read": Point(UnitBuilder, "batch", True),
    "after the attempt is noted": _after_create("_attempt/"),
    "after upload of the staged tar": _after_create("_staged/"),
    "after upload of the previews": _after_create("_previews/"),
    "after upload of the masks": _after_create("masks/"),
    "after upload of the index": _after_create("images/"),
    "before commit": _before_create("_commit/"),
    "after commit, before acknowledgement": _after_create("_commit/"),
    "after a loose file": Point(Store, "put", True, _path("rendered/")),
    "before the attempt ends": Point(Store, "delete", False, _paths("_attempt/")),
}
"""Each is reached at least once a unit."""

DRIVER = {
    "in the probe of the store": _after_create("_run/probe-"),
    "before the manifest": _before_create("_run/manifest.json"),
    "after the manifest": _after_create("_run/manifest.json"),
    "after the config": _after_create("_run/config.yaml"),
    "in verify, after the listing": Point(Store, "list", True, _everything),
    "in finalize, before the staged tars go": Point(Store, "delete", False, _paths("_staged/")),
    "in finalize, after the staged tars went": Point(Store, "delete", True, _paths("_staged/")),
    "in finalize, before the seal": Point(Store, "put", False, _path("_run/run.sha256")),
    "before a pack of records": Point(Store, "put", False, _path("_packs/")),
    "after a pack of records": Point(Store, "put", True, _path("_packs/")),
    "in finalize, before the packs of the run go": Point(Store, "delete", False, _paths("_packs/")),
    "in finalize, before SUCCESS": _before_create("_run/SUCCESS.json"),
    "in finalize, after SUCCESS": _after_create("_run/SUCCESS.json"),
    "after the report": _after_create("report/"),
    "before the report's seal": Point(Store, "put", False, _path("_run/report.sha256")),
}
"""Each is reached once a run."""

ON_DISK = {
    "in verify, after a file": Point(finish_checks, "_sha256", True),
    "in finalize, between two staged tars": Point(LocalBackend, "_prune", False, lambda folder: "_staged" in folder),
}
"""Each is reached once a unit, on disk only: an object store proves contents by etag and deletes all at once."""

POINTS = WORKER | DRIVER | ON_DISK


@dataclass(frozen=True)
class Trap:
    """hits: those of the point that kill, counted from 1. whom: the process `itself` dies, the `driver` dies, or the
    process is `stopped` until it gets SIGCONT."""

    point: str
    hits: Sequence[int] = (1,)
    whom: str = "itself"

    def set(self, folder: Path) -> dict[str, str]:
        """Arm it in a new folder. Returns the environment for the processes that may reach it."""
        folder.mkdir()
        (folder / "trap.json").write_text(json.dumps([self.point, self.hits, self.whom]))
        return {FOLDER: str(folder)}


def sprung(folder: Path) -> list[int]:
    """The processes that reached the folder's trap so far."""
    return [int(path.read_text()) for path in sorted(folder.glob("sprung-*"))]


def arm() -> None:
    """Arm the trap that the environment names, if any, in this process."""
    folder = Path(os.environ.get(FOLDER, "/nowhere")).resolve()  # a link when a cluster outlives its traps
    if (folder / "trap.json").exists():
        trap = Trap(*json.loads((folder / "trap.json").read_text()))
        _wrap(POINTS[trap.point], functools.partial(_hit, trap, folder))


def _wrap(point: Point, hit: Callable[[], None]) -> None:
    original = getattr(point.owner, point.method)
    bound = 1 if isinstance(point.owner, type) else 0  # a method's first argument is its object

    @functools.wraps(original)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        here = point.here(*args[bound:], **kwargs)
        if here and not point.after:
            hit()
        result = original(*args, **kwargs)
        if here and point.after:
            hit()
        return result

    setattr(point.owner, point.method, wrapped)


def _hit(trap: Trap, folder: Path) -> None:
    number = 1
    while not _claimed(folder / f"hit-{number}"):
        number += 1
    if number not in trap.hits:
        return
    note = folder / f"springing-{number}"  # renamed into place: who waits for it must not see it empty
    note.write_text(str(os.getpid()))
    note.rename(folder / f"sprung-{number}")
    if trap.whom == "stopped":
        os.kill(os.getpid(), signal.SIGSTOP)
    elif trap.whom == "driver":
        os.kill(int((folder / "driver").read_text()), signal.SIGKILL)
    else:
        os.kill(os.getpid(), signal.SIGKILL)


def _claimed(path: Path) -> bool:
    try:
        path.touch(exist_ok=False)
    except FileExistsError:
        return False
    return True
