"""A Ray cluster of one node with its dashboard, on loopback, with a token: what cluster=ray submits to."""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
from ray._private import ray_constants

HOST = "127.0.0.1"
START_SECONDS = 120.0
ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, kw_only=True)
class Head:
    """address: of the dashboard. token: what it asks for. pid: of `ray start`, 0 for none of ours."""

    address: str
    token: str
    pid: int = 0

    def environment(self) -> dict[str, str]:
        """The variables of a process that may submit."""
        return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": self.token}


@contextlib.contextmanager
def serve(variables: Mapping[str, str] | None = None) -> Iterator[Head]:
    """Start the head; end all of its processes, by their ids. variables: those of its workers besides ours.

    Workers can import `tests`, as a plugin, but no other package of this tree: the job brings these along.
    Raises RuntimeError with the end of its log when it does not come up.
    """
    with tempfile.TemporaryDirectory(prefix="segfill-ray-", ignore_cleanup_errors=True) as folder:
        (Path(folder) / "plugins").mkdir()
        (Path(folder) / "plugins/tests").symlink_to(ROOT / "tests")
        ports = _free_ports(4)
        head = Head(address=f"http://{HOST}:{ports[1]}", token=secrets.token_hex(16))
        environment = {
            **os.environ,
            **head.environment(),
            ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR: "0",  # all sockets on loopback
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
            "PYTHONPATH": f"{folder}/plugins",
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_worker_niceness": "0",  # else 15 more than ours, which on a busy machine is never
            **(variables or {}),
        }
        command = [
            *(str(Path(sys.executable).parent / "ray"), "start", "--head", "--block", "--disable-usage-stats"),
            *(f"--node-ip-address={HOST}", f"--port={ports[0]}", f"--dashboard-host={HOST}"),
            *("--include-dashboard=true", f"--dashboard-port={ports[1]}", f"--dashboard-agent-listen-port={ports[2]}"),
            *(f"--ray-client-server-port={ports[3]}", f"--temp-dir={folder}/ray", "--num-cpus=2"),
            f"--object-store-memory={100 << 20}",
        ]
        log = Path(folder) / "log"
        with log.open("w") as out:
            process = subprocess.Popen(
                command, env=environment, cwd=folder, stdout=out, stderr=out, start_new_session=True
            )
        try:
            _wait(process, head, log)
            yield replace(head, pid=process.pid)
        finally:
            kill(process.pid)
            process.wait()


def _wait(process: subprocess.Popen[bytes], head: Head, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    request = urllib.request.Request(f"{head.address}/api/jobs/", headers={"Authorization": f"Bearer {head.token}"})
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(urllib.error.URLError, ConnectionError, TimeoutError):
            urllib.request.urlopen(request, timeout=2).close()
            return
        time.sleep(0.2)
    raise RuntimeError(f"the head did not start; the end of its log:\n{log.read_text(errors='replace')[-3000:]}")


def kill(pid: int) -> None:
    """Kill the head and all that descends from it, as a machine that fails; drivers have sessions of their own."""
    with contextlib.suppress(psutil.NoSuchProcess):
        head = psutil.Process(pid)
        family = [head, *head.children(recursive=True)]
        for each in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()
        psutil.wait_procs(family, timeout=10)


def _free_ports(count: int) -> list[int]:
    """Ports outside of 10002 to 19999, which Ray gives to its workers."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind((HOST, 0))
        return [int(each.getsockname()[1]) for each in sockets]
