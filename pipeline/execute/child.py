"""A process of ours: a fresh interpreter that runs one function, with a pipe between it and its parent."""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path


class Child:
    """A child process. target: a function of a module, called there with its end of the pipe. pipe: the parent's end;
    it raises EOFError once the child is gone."""

    def __init__(self, target: Callable[[Connection], None]) -> None:
        self.pipe, theirs = Pipe()
        with theirs:
            entry = f"enter({target.__module__!r}, {target.__name__!r}, {theirs.fileno()})"
            self._process = subprocess.Popen(
                [sys.executable, "-c", f"from {__name__} import enter; {entry}"],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def resident(self) -> int:
        """Bytes of memory that the child holds; 0 where the system does not tell."""
        try:
            pages = Path(f"/proc/{self.pid}/statm").read_text().split()[1]
        except (OSError, IndexError):
            return 0
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    def ending(self) -> str:
        """Wait for the end of a child that is gone, and say how it ended: the signal, or the exit code."""
        code = self._process.wait()
        return signal.Signals(-code).name if code < 0 else f"exit code {code}"

    def leave(self) -> None:
        """Ask the child to end by itself."""
        self._process.terminate()

    def stop(self, patience: float = 0.0) -> None:
        """End the child. patience: seconds that it has to end by itself."""
        if patience:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(patience)
        self._process.kill()
        self._process.wait()
        self.pipe.close()


def enter(module: str, function: str, descriptor: int) -> None:
    """Run the target: the first thing that the child does."""
    getattr(importlib.import_module(module), function)(Connection(descriptor))
