"""Shows that a run lives and how far it is: one line that is redrawn on a terminal, or a line every ten seconds in a
log file.

Before and after the images it names the phase and its seconds. While images pass it counts those that the workers have
seen, and those of committed units where the workers do not tell. A thread draws, because the run may wait for minutes
in one call.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Final, TextIO

from pipeline import life
from pipeline.credentials import redact
from pipeline.records import Committed, Counts

LOG_EVERY: Final = 10.0
"""Seconds between two lines of a log file."""
REDRAW_EVERY: Final = 0.1
"""Minimum number of seconds between two redraws on a terminal."""
TICK: Final = 0.5
"""Seconds between two looks of the thread at the clock."""
WINDOW: Final = 60.0
"""Seconds over which the speed is averaged: long enough to span units, short enough to forget a slow part."""


class Progress:
    """Draws the progress of one run on a stream. Use it in a `with`, which starts the thread and makes it the listener
    of `pipeline.life`.

    clock: monotonic seconds. ticking: whether a thread draws; else only who calls `tick`, `advance` or `phase`.
    """

    def __init__(
        self, stream: TextIO | None = None, clock: Callable[[], float] = time.monotonic, *, ticking: bool = True
    ) -> None:
        stream = sys.stderr if stream is None else stream
        self._live = stream.isatty()
        self._stream, self._own = _kept(stream) if ticking else (stream, False)
        self._clock = clock
        self._lock = threading.RLock()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="segfill-progress", daemon=True) if ticking else None
        self._drawn = clock()
        self._phase, self._since = "", self._drawn
        self._images: _Images | None = None
        self._line = False  # whether a line stands on the terminal that the next one replaces

    def __enter__(self) -> Progress:
        self._listening = contextlib.ExitStack()
        self._listening.enter_context(life.listening(self))
        if self._thread:
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listening.close()
        self._end.set()
        if self._thread:
            self._thread.join()
        with self._lock:
            self._clear()
        if self._own:
            self._stream.close()

    def phase(self, text: str) -> None:
        with self._lock:
            if text != self._phase:
                self._phase, self._since = text, self._clock()
                self.tick(at_once=self._live)

    def seen(self, images: int) -> None:
        with self._lock:
            if self._images:
                self._images.see(images, self._clock())
                self.tick()

    def say(self, text: str, out: TextIO) -> None:
        with self._lock:
            self._clear()
            print(text, file=out, flush=True)

    @contextmanager
    def images(self, total: int | None, total_bytes: int) -> Iterator[None]:
        """Count images while it lasts, then write the last line, also after an error. total: images that this run has
        to process; None if unknown before reading (tars). The share that is done is then that of `total_bytes`, the
        encoded bytes that this run has to read; 0 if unknown too."""
        with self._lock:
            self._images = _Images(total, total_bytes, self._clock())
        done = False
        try:
            yield
            done = True
        finally:
            with self._lock:
                last, self._images = self._images.last(self._clock(), done=done), None
                self._clear()
                self._write(f"{last}\n")

    def advance(self, record: Committed) -> None:
        """Count one more committed unit. Called within `images`."""
        with self._lock:
            if self._images:
                self._images.commit(record, self._clock())
                self.tick()

    def tick(self, *, at_once: bool = False) -> None:
        """Draw, when it is time."""
        with self._lock:
            now = self._clock()
            if at_once or now - self._drawn >= (REDRAW_EVERY if self._live else LOG_EVERY):
                self._draw(now)

    def _run(self) -> None:
        while not self._end.wait(TICK):
            self.tick()

    def _draw(self, now: float) -> None:
        line = self._images.line(now) if self._images else ""
        if not line and self._phase:
            line = f"{self._phase}  {duration(now - self._since)}"
        if not line:
            return
        self._drawn, line = now, redact(line)
        if self._live:
            columns = shutil.get_terminal_size().columns
            self._write(f"\r{line[: columns - 1]}\x1b[K")
            self._line = True
        else:
            self._write(f"{line}\n")

    def _clear(self) -> None:
        if self._line:
            self._write("\r\x1b[K")
            self._line = False

    def _write(self, text: str) -> None:
        with contextlib.suppress(OSError, ValueError):  # nobody reads: the run goes on, and its end says so
            self._stream.write(text)
            self._stream.flush()


@contextmanager
def showing(stream: TextIO) -> Iterator[Progress]:
    """The progress that is shown already, else a new one on this stream."""
    shown = life.listener()
    if isinstance(shown, Progress):
        yield shown
    else:
        with Progress(stream) as progress:
            yield progress


class _Images:
    """Counts the images of a run, and estimates the time left from those that warm models have seen."""

    def __init__(self, total: int | None, total_bytes: int, now: float) -> None:
        self._total, self._bytes = total, total_bytes
        self._started = now
        self._counts, self._read, self._seen = Counts(), 0, 0
        self._recent: deque[tuple[float, int]] = deque()

    def see(self, images: int, now: float) -> None:
        """The first images that a worker tells of have waited for its models; the time left counts from there."""
        self._seen += images
        self._remember(now)

    def commit(self, record: Committed, now: float) -> None:
        self._counts += record.counts
        self._read += record.bytes_in
        self._remember(now)

    def line(self, now: float) -> str:
        """Empty before the first image."""
        if not self._passed:
            return ""
        return f"{self._done()}  {self._speed(now):.1f} images/s  {self._counts.rejected:,} rejected  {self._left(now)}"

    def last(self, now: float, *, done: bool) -> str:
        """done: whether the run came to its end, which is 100 % also of a tar that holds more than images."""
        took, images = max(now - self._started, 1e-9), self._counts.images
        text = f"{images:,} images (100%)" if done else self._done(images)
        return f"{text}  {images / took:.1f} images/s  {self._counts.rejected:,} rejected  took {duration(took)}"

    @property
    def _passed(self) -> int:
        """Images that have been seen: at least those of committed units, at most all."""
        seen = max(self._seen, self._counts.images)
        return seen if self._total is None else min(seen, max(self._total, self._counts.images))

    def _remember(self, now: float) -> None:
        if self._recent and self._passed == self._recent[-1][1]:
            return
        self._recent.append((now, self._passed))
        while len(self._recent) > 2 and now - self._recent[1][0] >= WINDOW:
            self._recent.popleft()

    def _done(self, images: int | None = None) -> str:
        images = self._passed if images is None else images
        if self._total is not None:
            return f"{images:,} of {self._total:,} images"
        return f"{images:,} images" + (f" ({self._share():.0%} of the bytes committed)" if self._read else "")

    def _share(self) -> float:
        """Share of the bytes in committed units, 0..1."""
        return min(1.0, self._read / self._bytes) if self._bytes else 0.0

    def _speed(self, now: float) -> float:
        """Images a second: of warm models as soon as there are any."""
        return self._warm(now) or self._passed / max(now - self._started, 1e-9)

    def _warm(self, now: float) -> float:
        """The speed from the first sign that images have passed on; 0 before a second one. Images come some at a time,
        so it ends at the last sign, until that is long ago."""
        (since, before), (last, passed) = self._recent[0], self._recent[-1]
        until = last if now - last < last - since else now
        return (passed - before) / max(until - since, 1e-9)

    def _left(self, now: float) -> str:
        speed, expected = self._warm(now), self._expected()
        left = expected - self._passed
        if expected and left <= 0:
            return "writing the last ones"
        if not self._counts.images or not speed or not expected:
            return "time left: not known yet"
        return f"about {duration(left / speed)} left"

    def _expected(self) -> float:
        """Images of the whole run: exact for a known total; else each counts as a mean image of committed units."""
        if self._total is not None:
            return self._total
        share = self._share()
        return self._counts.images / share if share else 0.0


def _kept(stream: TextIO) -> tuple[TextIO, bool]:
    """A stream of its own on the same file: whoever silences standard error, as Ray's start does, leaves it alone."""
    try:
        return os.fdopen(os.dup(stream.fileno()), "w", encoding=stream.encoding, errors="replace"), True
    except (OSError, ValueError, AttributeError):  # no file: a StringIO
        return stream, False


def duration(seconds: float) -> str:
    """Return a readable duration: `8 s`, `4 min 10 s`, `3 h 02 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
