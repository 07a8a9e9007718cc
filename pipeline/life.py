"""Signs of life: whoever works tells what happens, report/progress.py shows it.

A process has one listener, or none: then nothing is told to anybody. Workers of Ray have one that passes images on to
the driver (execute/ray_data.py).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol, TextIO


class Listener(Protocol):
    def phase(self, text: str) -> None:
        """What happens from now on, in words: `loading models`."""

    def seen(self, images: int) -> None:
        """So many more images have passed the models of this process."""

    def say(self, text: str, out: TextIO) -> None:
        """Print a line of its own."""


_listener: Listener | None = None
_phase = ""


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Tell this listener while it lasts, then the one before."""
    global _listener
    before, _listener = _listener, listener
    try:
        yield
    finally:
        _listener = before


def listener() -> Listener | None:
    """The listener of this process."""
    return _listener


def listen(listener: Listener) -> None:
    """Tell this listener from now on: for a process that only works."""
    global _listener
    _listener = listener


def phase(text: str) -> None:
    global _phase
    _phase = text
    if _listener is not None:
        _listener.phase(text)


@contextmanager
def doing(text: str) -> Iterator[None]:
    """A phase within another, which goes on after it."""
    before = _phase
    phase(text)
    try:
        yield
    finally:
        phase(before)


def seen(images: int) -> None:
    if _listener is not None:
        _listener.seen(images)


def say(text: str, out: TextIO | None = None) -> None:
    """Print a line, where a sign of life does not run into it. out: stdout by default."""
    stream = sys.stdout if out is None else out
    if _listener is None:
        print(text, file=stream, flush=True)
    else:
        _listener.say(text, stream)
