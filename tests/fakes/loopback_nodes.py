"""A Ray cluster on loopback whose nodes are started one by one, each with a view of the disk of its own.

What a node must not see (the package, a folder that others share) is hidden behind an empty file system in a mount
namespace, which only root may make.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from ray._raylet import GcsClient  # type: ignore[attr-defined]
from ray.core.generated.gcs_pb2 import GcsNodeInfo  # type: ignore[attr-defined]

from tests.fakes.ray_cluster import LOOPBACK

ROOT: Final = Path(__file__).parents[2]
ENVIRONMENT: Final = {**LOOPBACK, "RAY_AUTH_MODE": "disabled"}
"""Of nodes and drivers."""
PATIENCE: Final = 120.0
"""Seconds for a node to come up on a busy machine."""


def can_hide() -> bool:
    """Whether this user may make mount namespaces."""
    return os.geteuid() == 0 and bool(shutil.which("unshare")) and _runs(["unshare", "-m", "true"])


def _runs(command: Sequence[str]) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@dataclass
class RayNodes:
    """address: of the head, which has no core."""

    folder: str
    port: int
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def add(
        self, *, cpus: int = 1, hidden: Sequence[Path] = (), environment: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        """Start a node. hidden: folders that are empty for it."""
        hides = "".join(f"mount -t tmpfs none {shlex.quote(str(path))} && " for path in hidden)
        command = [sys.executable, "-m", "tests.fakes.ray_node", self.address, str(cpus), self.folder]
        shell = ["unshare", "-m", "sh", "-c", f"{hides}exec {shlex.join(command)}"] if hidden else command
        known = self._alive()
        process = self._start(shell, environment or {})
        self._wait(lambda: self._alive() > known, "a node did not come up")
        return process

    def _alive(self) -> int:
        client = GcsClient(address=self.address)
        return sum(node.state == GcsNodeInfo.GcsNodeState.ALIVE for node in client.get_all_node_info().values())

    def _wait(self, until: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while not until():
            assert time.monotonic() < deadline, what
            time.sleep(0.2)

    def start_head(self) -> None:
        ray = str(Path(sys.executable).parent / "ray")
        options = ("--num-cpus=0", "--node-ip-address=127.0.0.1", "--object-store-memory=100000000")
        quiet = ("--include-dashboard=false", "--disable-usage-stats", f"--temp-dir={self.folder}")
        self._start([ray, "start", "--head", "--block", f"--port={self.port}", *options, *quiet], {})
        self._wait(self._listens, "the head did not come up")
        self._wait(lambda: self._alive() == 1, "the head has no node")

    def _listens(self) -> bool:
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            return True
        return False

    def _start(self, command: Sequence[str], environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
        log = open(Path(self.folder) / f"node-{len(self.started)}.log", "wb")  # noqa: SIM115
        process = subprocess.Popen(
            command,
            stdout=log,
            stderr=log,
            cwd=ROOT,
            env={**os.environ, **ENVIRONMENT, "PYTHONPATH": str(ROOT), **environment},
            start_new_session=True,
        )
        self.started.append(process)
        return process

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        """Kill a node with all of its processes at once."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        self.started.remove(process)

    def remove(self, process: subprocess.Popen[bytes]) -> None:
        """Kill a node and wait until the head has noticed."""
        known = self._alive()
        self.kill(process)
        self._wait(lambda: self._alive() < known, "the head did not notice that a node is gone")


@contextlib.contextmanager
def ray_nodes() -> Iterator[RayNodes]:
    """A head without cores, and no node yet. All are killed at the end."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    folder = tempfile.mkdtemp(prefix="rn-", dir="/tmp")  # short: Ray's sockets are below it
    nodes = RayNodes(folder, port)
    try:
        nodes.start_head()
        yield nodes
    finally:
        for process in list(nodes.started):
            nodes.kill(process)
        shutil.rmtree(folder, ignore_errors=True)
