"""How workers in other processes tell the driver how many images have passed: each leaves a number, the driver adds up.

A sign that is lost is only one that is not shown: whatever goes wrong here ends no run.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, TextIO

from pipeline import life

PUT_EVERY: Final = 0.5
"""Seconds between two numbers of a worker."""
LOOK_EVERY: Final = 1.0
"""Seconds between two looks of the driver; more where a look takes longer than a tenth of that."""


class Told:
    """The listener in a worker. put: leaves the number of images that this worker has seen for the driver."""

    def __init__(self, put: Callable[[int], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._put_number, self._clock = put, clock
        self._images, self._last = 0, -PUT_EVERY

    def seen(self, images: int) -> None:
        self._images += images
        if self._clock() - self._last >= PUT_EVERY:
            with contextlib.suppress(Exception):
                self._put_number(self._images)
            self._last = self._clock()

    def phase(self, text: str) -> None:
        """The driver names the phases."""

    def say(self, text: str, out: TextIO) -> None:
        print(text, file=out, flush=True)


@contextmanager
def relayed(total: Callable[[], int]) -> Iterator[None]:
    """Tell the listener of this process what the workers have seen, while it lasts. total: the sum of their numbers."""
    end = threading.Event()

    def look() -> None:
        known, pause = 0, LOOK_EVERY
        while not end.wait(pause):
            started = time.monotonic()
            with contextlib.suppress(Exception):
                if (now := total()) > known:
                    life.seen(now - known)
                    known = now
            pause = max(LOOK_EVERY, 10 * (time.monotonic() - started))

    thread = threading.Thread(target=look, name="segfill-signs", daemon=True)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join()
