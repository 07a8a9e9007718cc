"""Shows the progress of a run: one line that is redrawn on a terminal, or a line every ten seconds in a log file."""

from __future__ import annotations

import shutil
import sys
import time
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Final, TextIO

from pipeline.records import Committed, Counts

LOG_EVERY: Final = 10.0
"""Seconds between two lines of a log file."""
REDRAW_EVERY: Final = 0.1
"""Seconds between two redraws on a terminal."""
WINDOW: Final = 60.0
"""Seconds over which the speed is averaged: long enough to span units, short enough to forget the start."""


class Progress:
    """Counts committed units and writes the progress to a stream.

    total_images: images that this run has to process; None if unknown before reading (tars). The progress is then the
    share of `total_bytes`, the encoded bytes that this run has to read; 0 if unknown too. clock: monotonic seconds. Use
    it in a `with`, or call `close()`: the last line is always written, also after an error.
    """

    def __init__(
        self,
        total_images: int | None,
        total_bytes: int,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._images, self._bytes = total_images, total_bytes
        self._stream = sys.stderr if stream is None else stream
        self._live = self._stream.isatty()
        self._clock = clock
        self._started = self._drawn = clock()
        self._counts, self._read = Counts(), 0
        self._recent: deque[tuple[float, int]] = deque([(self._started, 0)])
        self._closed = False
        if self._live:
            self._draw(self._started)

    def advance(self, record: Committed) -> None:
        """Count one more committed unit."""
        now = self._clock()
        self._counts += record.counts
        self._read += record.bytes_in
        self._recent.append((now, self._counts.images))
        while len(self._recent) > 2 and now - self._recent[1][0] >= WINDOW:
            self._recent.popleft()
        if now - self._drawn >= (REDRAW_EVERY if self._live else LOG_EVERY):
            self._draw(now)

    def close(self) -> None:
        """Write the last line, once."""
        if self._closed:
            return
        self._closed = True
        took = max(self._clock() - self._started, 1e-9)
        counts = self._counts
        line = (
            f"{self._done()}  {counts.images / took:.1f} images/s  {counts.rejected:,} rejected  took {duration(took)}"
        )
        self._stream.write(f"\r{line}\x1b[K\n" if self._live else f"{line}\n")
        self._stream.flush()

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _draw(self, now: float) -> None:
        self._drawn = now
        line = f"{self._done()}  {self._speed(now):.1f} images/s  {self._counts.rejected:,} rejected  {self._left(now)}"
        if self._live:
            columns = shutil.get_terminal_size().columns
            self._stream.write(f"\r{line[: columns - 1]}\x1b[K")
        else:
            self._stream.write(f"{line}\n")
        self._stream.flush()

    def _done(self) -> str:
        images = self._counts.images
        if self._images is not None:
            return f"{images:,} of {self._images:,} images"
        return f"{images:,} images" + (f" ({self._share():.0%} of the bytes)" if self._bytes else "")

    def _share(self) -> float:
        """Return the share that is done, 0..1. A tar holds more than images, so a share of bytes may end below 1."""
        if self._images is not None:
            return self._counts.images / self._images if self._images else 1.0
        return min(1.0, self._read / self._bytes) if self._bytes else 0.0

    def _speed(self, now: float) -> float:
        since, before = self._recent[0]
        return (self._counts.images - before) / max(now - since, 1e-9)

    def _left(self, now: float) -> str:
        share, since = self._share(), self._recent[0][0]
        if share >= 1.0:
            return "done"
        before = self._recent[0][1]
        gained = self._counts.images - before
        if not gained or share <= 0.0:
            return "time left: not known yet"
        # Each image of the window counts as a mean image: exact for a known total, close for bytes.
        per_image = share / self._counts.images
        return f"about {duration((1.0 - share) / (per_image * gained / max(now - since, 1e-9)))} left"


def duration(seconds: float) -> str:
    """Return a readable duration: `8 s`, `4 min 10 s`, `3 h 02 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
