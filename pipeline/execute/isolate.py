"""A unit that killed its worker twice goes on here: one image at a time, in a process that may die.

`journalled` is how every executor runs a word of the line. It counts the attempts in the ledger; from the third one on
the images go to a `Disposable`, which rejects the image that kills it, hangs or takes too much memory, and goes on with
the next one. The rows and bytes of all other images are the same as from a worker that lives.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import islice
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final, TypeAlias, cast

import cv2

from pipeline import flow as line
from pipeline.errors import ConfigError, ImageError, RunError, SegfillError
from pipeline.records import Batch, Committed, Rejected
from pipeline.sink.unit_writer import Previews
from pipeline.stage import watching

Word: TypeAlias = Callable[[line.Hot, Batch[Any]], "Batch[Any] | Committed"]
Step: TypeAlias = Callable[..., Batch[Any]]

_TRUSTED_ATTEMPTS: Final = 2
_LOOK_SECONDS: Final = 0.02
"""Between two looks at a child's memory: a codec can write some 100 MB in it."""
_START_SECONDS: Final = 1800.0
"""To load the models, of which the largest have tens of gigabytes."""
_STEPS: Final[dict[Word, tuple[Step, ...]]] = {
    line.run: (line.decode, line.segment, line.select, line.fill, line.render),
    line.finish: (line.render,),
}
"""What a word of the line does to single images, where it is not that word itself."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one image may take. seconds: in one stage, and in all of them together for an image that runs alone; a
    worker that exceeds them dies and its unit is tried again. memory_mib: growth of the process in which an image runs
    alone, 0 = half of what is free (known on Linux; elsewhere without a limit)."""

    seconds: float = 300.0
    memory_mib: int = 0

    def __post_init__(self) -> None:
        if isinstance(self.seconds, bool) or not isinstance(self.seconds, int | float) or not self.seconds > 0:
            raise ConfigError(f"execute.image_seconds: expected a number above 0, got {self.seconds!r}")
        if type(self.memory_mib) is not int or self.memory_mib < 0:
            raise ConfigError(f"execute.image_mib: expected 0 (choose) or more, got {self.memory_mib!r}")


def journalled(word: Word, hot: line.Hot, batch: Batch[Any], limits: Limits) -> Batch[Any] | Committed:
    """`word(hot, batch)`, and the attempt in the ledger while it lasts."""
    with hot.ledger.attempt(batch.unit, word.__name__) as number:
        return _tried(word, hot, batch, limits, number)


def journalled_together(
    word: Word, hot: line.Hot, batches: Sequence[Batch[Any]], limits: Limits
) -> list[Batch[Any] | Committed]:
    """`word` on several units at once, so that a model sees the images of all of them: for words that take images to
    images (segment, fill). Each unit has its own attempt; one whose workers died goes alone."""
    with ExitStack() as attempts:
        numbers = [attempts.enter_context(hot.ledger.attempt(batch.unit, word.__name__)) for batch in batches]
        trusted = [batch for batch, number in zip(batches, numbers, strict=True) if number <= _TRUSTED_ATTEMPTS]
        done: dict[str, Batch[Any] | Committed] = {}
        if len(trusted) > 1:
            answer = _tried(word, hot, _joined(trusted), limits, 1)
            if not isinstance(answer, Batch):
                raise TypeError(f"{word.__name__} does not take images to images")
            done = {part.unit.unit_id: part for part in _parted(answer, trusted)}
        return [
            done.get(batch.unit.unit_id) or _tried(word, hot, batch, limits, number)
            for batch, number in zip(batches, numbers, strict=True)
        ]


def _tried(word: Word, hot: line.Hot, batch: Batch[Any], limits: Limits, number: int) -> Batch[Any] | Committed:
    if number <= _TRUSTED_ATTEMPTS:
        with watching(limits.seconds):
            return word(hot, batch)
    if steps := _STEPS.get(word):
        with Disposable(hot, limits, steps) as child:
            return word(hot, batch, child)  # type: ignore[call-arg]
    with Disposable(hot, limits, (cast(Step, word),)) as child:
        return child(hot, batch, Previews(left=0))


def _joined(batches: Sequence[Batch[Any]]) -> Batch[Any]:
    items = tuple(item for batch in batches for item in batch.items)
    return Batch(unit=batches[0].unit, items=items, seconds={})


def _parted(answer: Batch[Any], batches: Sequence[Batch[Any]]) -> list[Batch[Any]]:
    """Each unit with its own images again, and its share of the seconds by their number."""
    rest, parts = iter(answer.items), []
    for batch in batches:
        share = len(batch.items) / max(1, len(answer.items))
        spent = {stage: batch.seconds.get(stage, 0.0) + value * share for stage, value in answer.seconds.items()}
        seconds = {**batch.seconds, **spent}
        parts.append(Batch(unit=batch.unit, items=tuple(islice(rest, len(batch.items))), seconds=seconds))
    return parts


class Disposable:
    """Runs steps of the line on single images in a child process, replaced when it dies. For a `with`."""

    def __init__(self, hot: line.Hot, limits: Limits, steps: tuple[Step, ...]) -> None:
        self._hot, self._limits, self._steps = hot, limits, steps
        self._memory = limits.memory_mib << 20 or _free() // 2
        self._process: subprocess.Popen[bytes] | None = None
        self._pipe: Connection

    def __enter__(self) -> Disposable:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def __call__(self, hot: line.Hot, batch: Batch[Any], previews: Previews) -> Batch[Any]:
        """The steps on every image of the batch; an image that a step does not survive is rejected."""
        items, seconds = [], Counter(batch.seconds)
        for item in batch.items:
            if isinstance(item, Rejected):
                items.append(item)
                continue
            done = self._one(Batch(unit=batch.unit, items=(item,), seconds={}), previews)
            items.append(done.items[0])
            seconds.update(done.seconds)
        return replace(batch, items=tuple(items), seconds=seconds)

    def _one(self, batch: Batch[Any], previews: Previews) -> Batch[Any]:
        stage = "start"
        try:
            if self._process is None:
                self._start()
            self._pipe.send((batch, previews.left))
            deadline, before = time.monotonic() + self._limits.seconds, self._resident()
            while True:
                if self._pipe.poll(_LOOK_SECONDS):
                    answer = self._pipe.recv()
                    if isinstance(answer, SegfillError):
                        raise answer
                    if not isinstance(answer, str):
                        done, previews.left = answer
                        return done  # type: ignore[no-any-return]
                    stage = answer
                elif time.monotonic() > deadline:
                    raise ImageError("timed_out", f"not done within {self._limits.seconds:g} s, alone in a process")
                elif self._memory and self._resident() - before > self._memory:
                    raise ImageError("out_of_memory", f"took more than {self._memory >> 20} MiB, alone in a process")
        except (EOFError, ConnectionError):
            error = ImageError("killed_worker", f"its process ended with {self._ending()}, with this image alone")
        except ImageError as found:
            error = found
        self._stop()
        rejected = Rejected(ref=batch.items[0].ref, stage=stage, reason=error.reason, detail=error.detail)
        return replace(batch, items=(rejected,))

    def _start(self) -> None:
        self._pipe, theirs = Pipe()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-c", f"from {__name__} import serve; serve({theirs.fileno()})"],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            )
        hot = self._hot
        try:
            self._pipe.send((hot.flow, hot.device, hot.threads, self._steps, self._limits.seconds))
            if not self._pipe.poll(_START_SECONDS):
                raise RunError(f"a process for single images was not up within {_START_SECONDS:g} s")
            self._pipe.recv()
        except (EOFError, ConnectionError) as error:
            raise RunError(
                f"a process for single images ended with {self._ending()} before it had loaded the models; "
                "the same command resumes the run"
            ) from error

    def _resident(self) -> int:
        """Bytes of memory that the child holds; 0 where nobody says."""
        if self._process is None:
            return 0
        try:
            pages = Path(f"/proc/{self._process.pid}/statm").read_text().split()[1]
        except (OSError, IndexError):
            return 0
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    def _ending(self) -> str:
        code = self._process.wait() if self._process else 0
        return signal.Signals(-code).name if code < 0 else f"exit code {code}"

    def _stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._pipe.close()
            self._process = None


def serve(descriptor: int) -> None:
    """The child: loads what its words need, then takes images until nobody sends any more."""
    cv2.setNumThreads(1)  # as the workers do: with more, some of its sums round otherwise and the bytes differ
    pipe = Connection(descriptor)
    flow, device, threads, steps, seconds = pipe.recv()
    hot: line.Hot = flow.load(device, threads)
    _load(hot, steps)
    pipe.send("ready")
    while True:
        try:
            batch, previews = pipe.recv()
        except EOFError:
            return
        with watching(2 * seconds):  # an orphan that hangs: nobody is left to stop it
            pipe.send(_answer(pipe, hot, steps, batch, Previews(left=previews)))


def _load(hot: line.Hot, steps: tuple[Step, ...]) -> None:
    """Now, so that the first image's time is its own."""
    if line.segment in steps:
        len(hot.segmenters)
    if line.fill in steps:
        callable(hot.fill)


def _answer(
    pipe: Connection, hot: line.Hot, steps: tuple[Step, ...], batch: Batch[Any], previews: Previews
) -> tuple[Batch[Any], int] | SegfillError:
    try:
        for step in steps:
            pipe.send(step.__name__)  # where it is, should it die
            batch = step(hot, batch, previews) if step is line.render else step(hot, batch)
    except SegfillError as error:
        return error
    return batch, previews.left


def _free() -> int:
    """Bytes of memory that this machine can still give; 0 where nobody says."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return 0
    return next((int(text.split()[1]) << 10 for text in lines if text.startswith("MemAvailable:")), 0)
