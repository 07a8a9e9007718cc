"""A process a core on one machine, without Ray: threads of this process read units, workers run the chain on them.

A worker takes one unit at a time and commits it, as an actor of execute/ray_data.py does, so the same journal, limits
and bytes hold. This process keeps a unit until its worker has committed it: a worker that dies costs its unit one
attempt and gets a successor. Memory is bounded by the units at work and one that each reader has ready.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import queue
import signal
import sys
import threading
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Annotated, Final, TextIO, TypeAlias

import cv2
from pydantic import Field

from pipeline import life
from pipeline.errors import RunError, SegfillError, one_line
from pipeline.execute.base import ExecutorBase
from pipeline.execute.child import Child
from pipeline.execute.isolate import WHOLE, run_attempt
from pipeline.flow import Flow, Worker
from pipeline.plan import Plan
from pipeline.records import Committed, EncodedImage, UnitBatch
from pipeline.spec import spec

_Batch: TypeAlias = UnitBatch[EncodedImage]

_START_DEATHS: Final = 3
"""Workers in a row that may die before they are ready: then no image is to blame."""
_PATIENCE: Final = 10.0
"""Seconds that workers have to leave their units when the run ends early. A unit that is left has no attempt more."""
_POLL_SECONDS: Final = 0.05
"""Between two looks for a unit while a worker could take one."""


@spec
class Processes(ExecutorBase):
    workers: Annotated[int, Field(ge=0)] = 0
    """Processes that run the chain; 0: one a core."""
    readers: Annotated[int, Field(ge=0)] = 0
    """Shards that are read at the same time; 0: a quarter of the workers, at least 1."""

    def check(self, flow: Flow, plan: Plan) -> None:
        """Always available."""

    def run(self, flow: Flow, plan: Plan) -> Iterator[Committed]:
        workers = self.workers or cores()
        with _Team(self, flow, workers) as team, _Readers(flow, plan, self.readers or max(1, workers // 4)) as readers:
            yield from team.run(readers)


def cores() -> int:
    """Cores that this process may use: by its affinity, and by its cgroup's limit of processor time."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return max(1, min(count, int(quota) // int(period)))
    except (OSError, ValueError):  # no cgroup, or no limit ("max")
        return count


# --- this process ----------------------------------------------------------------------------------------------


class _Readers:
    """Threads that read the units of a plan, each at most one ahead. Use it in a `with`."""

    def __init__(self, flow: Flow, plan: Plan, count: int) -> None:
        self._flow, self._shards, self._lock = flow, iter(plan.pending), threading.Lock()
        self._ready: queue.Queue[_Batch | BaseException | None] = queue.Queue(maxsize=1)
        self._stopped = threading.Event()
        self._threads = [threading.Thread(target=self._read, name=f"reader-{n}", daemon=True) for n in range(count)]
        self._reading = count

    def __enter__(self) -> _Readers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join(_PATIENCE)

    @property
    def ended(self) -> bool:
        """Whether every unit of the plan was taken."""
        return not self._reading

    def take(self, patience: float) -> _Batch | None:
        """Return a unit; None when there is none within `patience` seconds. Raises what a reader raised."""
        while not self.ended:
            try:
                item = self._ready.get(timeout=patience) if patience else self._ready.get_nowait()
            except queue.Empty:
                return None
            if isinstance(item, BaseException):
                raise item
            if item is not None:
                return item
            self._reading -= 1
        return None

    def _read(self) -> None:
        try:
            while not self._stopped.is_set():
                with self._lock:
                    pending = next(self._shards, None)
                if pending is None:
                    break
                for batch in self._flow.source.units(pending.shard, pending.done):
                    self._put(batch)
                    if self._stopped.is_set():
                        break
            self._put(None)
        except BaseException as error:  # raised again by `take`
            self._put(error)

    def _put(self, item: _Batch | BaseException | None) -> None:
        """Wait until `take` has room for it, or the run is over."""
        placed = False
        while not placed and not self._stopped.is_set():
            with contextlib.suppress(queue.Full):
                self._ready.put(item, timeout=_POLL_SECONDS)
                placed = True


class _Worker:
    """One worker and the unit that it has, if any. ready: whether it takes units already."""

    def __init__(self, executor: Processes, flow: Flow) -> None:
        self.child = Child(serve)
        self.unit: _Batch | None = None
        self.ready = False
        self.child.pipe.send((flow, executor))

    def give(self, unit: _Batch) -> None:
        """Hand over a unit: now, or by `answer` when the worker is ready."""
        self.unit = unit
        if self.ready:
            self.child.pipe.send(unit)

    def answer(self) -> Committed | Exception | None:
        """Receive what the worker says: it has committed its unit, or why the run must end; None while it goes on.
        Raises EOFError or ConnectionError once it is dead."""
        message: Committed | Exception | int | None = self.child.pipe.recv()
        if message is None:
            self.ready = True
            if self.unit is not None:
                self.child.pipe.send(self.unit)
        elif isinstance(message, int):
            life.seen(message)
            return None
        else:
            self.unit = None
        return message


class _Team:
    """The workers of a run, started as there are units for them. Use it in a `with`."""

    def __init__(self, executor: Processes, flow: Flow, size: int) -> None:
        self._executor, self._flow, self._size = executor, flow, size
        self._workers = [_Worker(executor, flow)]  # the first one starts while the first unit is read
        self._again: list[_Batch] = []
        self._start_deaths = 0

    def __enter__(self) -> _Team:
        return self

    def __exit__(self, *_: object) -> None:
        """Let workers leave their units, at once and together, before they are ended."""
        busy = [worker for worker in self._workers if worker.unit is not None]
        for worker in busy:
            worker.child.leave()
        deadline = time.monotonic() + _PATIENCE
        for worker in self._workers:
            worker.child.stop(max(0.0, deadline - time.monotonic()) if worker in busy else 0.0)

    def run(self, readers: _Readers) -> Iterator[Committed]:
        """Hand out every unit and yield the commits. Raises what a reader or a worker raises."""
        while True:
            waiting = self._hand_out(readers)
            busy = [worker for worker in self._workers if worker.unit is not None]
            if not busy and readers.ended and not self._again:
                return
            pipes = {worker.child.pipe: worker for worker in self._workers}
            for pipe in wait(list(pipes), _POLL_SECONDS if waiting or not busy else None):
                if isinstance(pipe, Connection) and (done := self._answer(pipes[pipe])) is not None:
                    yield done

    def _hand_out(self, readers: _Readers) -> bool:
        """Give units to all who can take one. True when somebody could take one that is not read yet."""
        while (worker := next((w for w in self._workers if w.unit is None), None)) or len(self._workers) < self._size:
            unit = self._again.pop() if self._again else readers.take(0.0)
            if unit is None:
                return not readers.ended
            if worker is None:
                worker = _Worker(self._executor, self._flow)
                self._workers.append(worker)
            try:
                worker.give(unit)
            except ConnectionError:
                self._bury(worker)
        return False

    def _answer(self, worker: _Worker) -> Committed | None:
        try:
            done = worker.answer()
        except (EOFError, ConnectionError):
            self._bury(worker)
            return None
        if isinstance(done, Exception):
            raise done
        self._start_deaths = 0
        return done

    def _bury(self, worker: _Worker) -> None:
        """Take a dead worker out; its unit goes to another. Raises RunError when workers die before they are ready."""
        ending = worker.child.ending()
        worker.child.stop()
        self._workers.remove(worker)
        if worker.unit is not None:
            self._again.append(worker.unit)
        if not worker.ready:
            self._start_deaths += 1
        if self._start_deaths >= _START_DEATHS:
            raise RunError(
                f"execute=processes: {_START_DEATHS} workers in a row ended with {ending} before they were ready; look "
                "for their words above, and for the memory that is free; the same command resumes the run"
            )


# --- a worker --------------------------------------------------------------------------------------------------


def serve(pipe: Connection) -> None:
    """A worker: run the chain on units until no more come."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which then says SIGTERM
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    threading.Thread(target=_leave_with, args=(os.getppid(),), daemon=True).start()
    cv2.setNumThreads(1)  # with more, some of its sums round otherwise and the bytes differ
    flow, executor = pipe.recv()
    worker: Worker = flow.load("cpu", executor.threads)
    life.listen(_Told(pipe))
    pipe.send(None)
    while True:
        try:
            batch = pipe.recv()
        except EOFError:
            return
        pipe.send(_committed(worker, batch, executor))


class _Told:
    """Passes the number of images that this worker has seen on to the parent."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe

    def phase(self, text: str) -> None:
        pass

    def seen(self, images: int) -> None:
        self._pipe.send(images)

    def say(self, text: str, out: TextIO) -> None:
        print(text, file=out, flush=True)


def _committed(worker: Worker, batch: _Batch, executor: Processes) -> object:
    """Return the record of a unit's commit, or the error that must end the run."""
    try:
        return run_attempt(WHOLE, worker, batch, executor.limits)
    except (SegfillError, OSError) as error:
        with contextlib.suppress(Exception):  # a library's error may not survive the way
            return pickle.loads(pickle.dumps(error))
        problem = one_line(error)
    except Exception as error:
        problem = f"{type(error).__name__}: {one_line(error)}"
    return RunError(f"a worker failed: {problem}; the same command resumes the run")


def _leave_with(parent: int) -> None:
    """End this process soon after its parent was killed: an orphan would hold a unit's memory and a core."""
    while os.getppid() == parent:
        time.sleep(1.0)
    os.kill(os.getpid(), signal.SIGTERM)
