"""A command under a terminal of its own: what it draws, when, and what Ctrl-C does to it."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import sys
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Shown:
    """code: of its exit. drawn: (seconds since the start, text) of every write, in order."""

    code: int
    drawn: tuple[tuple[float, str], ...]

    @property
    def text(self) -> str:
        return "".join(text for _, text in self.drawn)

    @property
    def lines(self) -> list[str]:
        """Everything that stood on the screen at some time, a line each."""
        return [line for line in self.text.replace("\x1b[K", "").replace("\r", "\n").split("\n") if line.strip()]

    @property
    def longest_silence(self) -> float:
        """Seconds between two writes, or before the first one."""
        times = [0.0, *(at for at, _ in self.drawn)]
        return max(after - before for before, after in pairwise(times))


def run(*arguments: str, interrupt_at: str = "", seconds: float = 300.0) -> Shown:
    """Run `python -m jobs ...`. interrupt_at: press Ctrl-C when the screen has shown this. seconds: limit."""
    started = time.monotonic()
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(ROOT)
        signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the tests run behind &
        os.environ.update(COLUMNS="160", PYTHONPATH=str(ROOT))
        os.execv(sys.executable, [sys.executable, "-m", "jobs", *arguments])
    drawn: list[tuple[float, str]] = []
    while time.monotonic() - started < seconds:
        if not select.select([terminal], [], [], 1.0)[0]:
            continue
        try:
            data = os.read(terminal, 1 << 16)
        except OSError:  # the other end is closed
            break
        drawn.append((time.monotonic() - started, data.decode(errors="replace")))
        if interrupt_at and interrupt_at in "".join(text for _, text in drawn):
            os.write(terminal, b"\x03")
            interrupt_at = ""
    else:
        os.kill(pid, 9)
    os.close(terminal)
    return Shown(code=os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), drawn=tuple(drawn))


def but_signs(said: str) -> list[str]:
    """The lines of standard error but the signs of life, one every 10 s, that a run on a busy machine gives."""
    return [line for line in said.splitlines() if not re.search(r"  \d+(\.\d)? (s|min \d+ s)( |$)", line)]
