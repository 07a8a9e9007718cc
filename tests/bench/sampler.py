"""Peak memory of a command and of everything that it started.

Proportional set size (PSS, /proc/PID/smaps_rollup): a page that several processes share is counted once in the sum, so
Ray's object store and forked workers are not counted many times over.
"""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

EVERY = 1.0
"""Seconds between two samples: each walks page tables, and more frequent ones slow down the measured command."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """wall: seconds. driver, all: peak PSS in MiB of the started process, and of it with all that it started."""

    code: int
    wall: float
    driver: float
    all: float
    output: str
    errors: str


def run(command: Sequence[str], *, cwd: Path, env: Mapping[str, str] = os.environ) -> Measured:
    """Run a command to its end and sample its memory."""
    started = time.perf_counter()
    process = subprocess.Popen(
        command, cwd=cwd, env=dict(env), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace"
    )
    peaks = _Peaks(process.pid)
    ended = threading.Event()
    thread = threading.Thread(target=peaks.watch, args=(ended,))
    thread.start()
    output, errors = process.communicate()
    wall = time.perf_counter() - started
    ended.set()
    thread.join()
    return Measured(
        code=process.returncode, wall=wall, driver=peaks.driver, all=peaks.all, output=output, errors=errors
    )


class _Peaks:
    def __init__(self, root: int) -> None:
        self.root, self.driver, self.all = root, 0.0, 0.0
        self._known = {root: _started(root)}

    def watch(self, ended: threading.Event) -> None:
        while not ended.wait(EVERY):
            held = {pid: _pss(pid) for pid in self._tree()}
            self.driver = max(self.driver, held.get(self.root, 0.0))
            self.all = max(self.all, sum(held.values()))

    def _tree(self) -> list[int]:
        """The process and all that descend from it, also those whose parent has died since."""
        parents = {int(entry): _parent(int(entry)) for entry in os.listdir("/proc") if entry.isdigit()}
        self._known = {pid: born for pid, born in self._known.items() if pid in parents and _started(pid) == born}
        grew = True
        while grew:
            new = [pid for pid, parent in parents.items() if parent in self._known and pid not in self._known]
            self._known |= {pid: _started(pid) for pid in new}
            grew = bool(new)
        return list(self._known)


def _pss(pid: int) -> float:
    """MiB; 0 for a process that has ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the third on (the second may hold blanks); empty for an ended process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _parent(pid: int) -> int:
    fields = _stat(pid)
    return int(fields[1]) if fields else 0


def _started(pid: int) -> str:
    fields = _stat(pid)
    return fields[19] if fields else ""
