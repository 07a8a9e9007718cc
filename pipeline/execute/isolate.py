"""A unit that killed its worker twice goes on here: one image at a time, in a process that may die.

`run_attempt` is how every executor runs a part of the chain. It counts the attempts in the ledger; from the third one
on the images go to an `IsolatedWorker`, which rejects the image that kills it, hangs or takes too much memory, and
goes on with the next one. The rows and bytes of all other images are the same as from a worker that lives.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import islice
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final

import cv2

from pipeline import life
from pipeline.errors import ImageError, RunError, SegfillError
from pipeline.execute.child import Child
from pipeline.flow import STAGES, Process, Stage, Worker, commit_unit, process
from pipeline.image.frames import expanded
from pipeline.records import Committed, Rejected, UnitBatch
from pipeline.stage import watching

_TRUSTED_ATTEMPTS: Final = 2
_POLL_SECONDS: Final = 0.02
"""Between two reads of a child's memory: a codec can write some 100 MB in it."""
_START_SECONDS: Final = 1800.0
"""To load the models, of which the largest have tens of gigabytes."""


@dataclass(frozen=True)
class Part:
    """Stages that an executor runs in one place. name: in the attempt journal. commits: whether the unit's files are
    written and committed after them."""

    name: str
    stages: tuple[Stage, ...]
    commits: bool = False


def part(*names: str, commits: bool = False) -> Part:
    """The part of the chain that consists of these stages."""
    return Part("-".join(names), tuple(stage for stage in STAGES if stage.name in names), commits)


WHOLE: Final = Part("unit", STAGES, commits=True)


@dataclass(frozen=True, kw_only=True)
class ImageLimits:
    """Limits of one image; `execute.image_seconds` and `execute.image_mib` set them. seconds: in one stage, and in all
    of them for an image that runs alone. memory_mib: growth of the process in which an image runs alone; 0: half of
    what is free."""

    seconds: float = 300.0
    memory_mib: int = 0


def run_attempt(part: Part, worker: Worker, batch: UnitBatch[Any], limits: ImageLimits) -> UnitBatch[Any] | Committed:
    """Run a part of the chain on one unit, with the attempt in the ledger while it lasts."""
    with worker.ledger.attempt(batch.unit, part.name) as number:
        return _run(part, worker, batch, limits, number)


def run_attempts(
    part: Part, worker: Worker, batches: Sequence[UnitBatch[Any]], limits: ImageLimits
) -> list[UnitBatch[Any] | Committed]:
    """Run a part that commits nothing on several units at once, so that a model sees the images of all of them. Each
    unit has its own attempt; one whose workers died goes alone."""
    with ExitStack() as attempts:
        numbers = [attempts.enter_context(worker.ledger.attempt(batch.unit, part.name)) for batch in batches]
        trusted = [batch for batch, number in zip(batches, numbers, strict=True) if number <= _TRUSTED_ATTEMPTS]
        done: dict[str, UnitBatch[Any] | Committed] = {}
        if len(trusted) > 1:
            answer = _run(part, worker, _joined(trusted), limits, 1)
            if not isinstance(answer, UnitBatch):
                raise TypeError(f"{part.name} commits its units, so it takes one at a time")
            done = {each.unit.unit_id: each for each in _parted(answer, trusted)}
        return [
            done.get(batch.unit.unit_id) or _run(part, worker, batch, limits, number)
            for batch, number in zip(batches, numbers, strict=True)
        ]


def _run(
    part: Part, worker: Worker, batch: UnitBatch[Any], limits: ImageLimits, attempt: int
) -> UnitBatch[Any] | Committed:
    if part.stages[:1] == STAGES[:1]:
        batch = expanded(batch, worker.flow.decode)

    def run(stages: Process) -> UnitBatch[Any] | Committed:
        return commit_unit(worker, batch, stages) if part.commits else stages(worker, batch)

    if attempt <= _TRUSTED_ATTEMPTS:
        with watching(limits.seconds):
            return run(lambda worker, batch: process(worker, batch, part.stages))
    with IsolatedWorker(worker, limits, part.stages) as child:
        return run(child)


def _joined(batches: Sequence[UnitBatch[Any]]) -> UnitBatch[Any]:
    items = tuple(item for batch in batches for item in batch.items)
    return UnitBatch(unit=batches[0].unit, items=items, seconds={})


def _parted(answer: UnitBatch[Any], batches: Sequence[UnitBatch[Any]]) -> list[UnitBatch[Any]]:
    """Each unit with its own images again, and its part of the seconds by their number."""
    rest, parts = iter(answer.items), []
    for batch in batches:
        share = len(batch.items) / max(1, len(answer.items))
        spent = {stage: batch.seconds.get(stage, 0.0) + value * share for stage, value in answer.seconds.items()}
        seconds = {**batch.seconds, **spent}
        parts.append(UnitBatch(unit=batch.unit, items=tuple(islice(rest, len(batch.items))), seconds=seconds))
    return parts


class IsolatedWorker:
    """Runs stages on single images in a child process that is replaced when it dies. Use it in a `with`."""

    def __init__(self, worker: Worker, limits: ImageLimits, stages: tuple[Stage, ...]) -> None:
        self._worker, self._limits, self._stages = worker, limits, stages
        self._memory = limits.memory_mib << 20 or _free() // 2
        self._child: Child | None = None

    def __enter__(self) -> IsolatedWorker:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def __call__(self, worker: Worker, batch: UnitBatch[Any]) -> UnitBatch[Any]:
        """Run the stages on every image of the batch; reject an image that a stage does not survive."""
        items, seconds, previews = [], Counter(batch.seconds), batch.previews
        for item in batch.items:
            if isinstance(item, Rejected):
                items.append(item)
                continue
            done = self._one(replace(batch, items=(item,), seconds={}, previews=previews))
            items.append(done.items[0])
            if any(stage.name == "segment" for stage in self._stages):
                life.seen(1)  # the child has no listener
            seconds.update(done.seconds)
            previews = done.previews
        return replace(batch, items=tuple(items), seconds=seconds, previews=previews)

    def _one(self, batch: UnitBatch[Any]) -> UnitBatch[Any]:
        stage = "start"
        child = self._child = self._child or self._started()
        try:
            child.pipe.send(batch)
            deadline, before = time.monotonic() + self._limits.seconds, child.resident()
            while True:
                if child.pipe.poll(_POLL_SECONDS):
                    answer = child.pipe.recv()
                    if isinstance(answer, SegfillError):
                        raise answer
                    if isinstance(answer, UnitBatch):
                        return answer
                    stage = answer
                elif time.monotonic() > deadline:
                    raise ImageError("timed_out", f"not done within {self._limits.seconds:g} s, alone in a process")
                elif self._memory and child.resident() - before > self._memory:
                    raise ImageError("out_of_memory", f"took more than {self._memory >> 20} MiB, alone in a process")
        except (EOFError, ConnectionError):
            error = ImageError("killed_worker", f"its process ended with {child.ending()}, with this image alone")
        except ImageError as found:
            error = found
        self._stop()
        rejected = Rejected(ref=batch.items[0].ref, stage=stage, reason=error.reason, detail=error.detail)
        return replace(batch, items=(rejected,))

    def _started(self) -> Child:
        child, worker = Child(serve), self._worker
        try:
            child.pipe.send((worker.flow, worker.device, worker.threads, self._stages, self._limits.seconds))
            if not child.pipe.poll(_START_SECONDS):
                child.stop()
                raise RunError(f"a process for single images was not up within {_START_SECONDS:g} s")
            child.pipe.recv()
        except (EOFError, ConnectionError) as error:
            raise RunError(
                f"a process for single images ended with {child.ending()} before it had loaded the models; "
                "the same command resumes the run"
            ) from error
        return child

    def _stop(self) -> None:
        if self._child is not None:
            self._child.stop()
            self._child = None


def serve(pipe: Connection) -> None:
    """The child: loads the models that its stages need, then takes images until no more come."""
    cv2.setNumThreads(1)  # as the workers do: with more, some of its sums round otherwise and the bytes differ
    flow, device, threads, stages, seconds = pipe.recv()
    worker: Worker = flow.load(device, threads)
    _load(worker, stages)
    pipe.send("ready")
    while True:
        try:
            batch = pipe.recv()
        except EOFError:
            return
        with watching(2 * seconds):  # ends an orphan that hangs
            pipe.send(_answer(pipe, worker, stages, batch))


def _load(worker: Worker, stages: tuple[Stage, ...]) -> None:
    """Before the first image, so that its time is its own."""
    names = {stage.name for stage in stages}
    if "segment" in names:
        len(worker.segmenters)
    if "fill" in names:
        callable(worker.fill)


def _answer(
    pipe: Connection, worker: Worker, stages: tuple[Stage, ...], batch: UnitBatch[Any]
) -> UnitBatch[Any] | SegfillError:
    try:
        for stage in stages:
            pipe.send(stage.name)  # where it is, should it die
            batch = stage.run(worker, batch)
    except SegfillError as error:
        return error
    return batch


def _free() -> int:
    """Bytes of memory that this machine has left; 0 where the system does not tell."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return 0
    return next((int(text.split()[1]) << 10 for text in lines if text.startswith("MemAvailable:")), 0)
