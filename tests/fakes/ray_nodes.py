"""Ray on several nodes, each in a network of its own on one bridge, with a token; and a place to submit from.

They share this machine's disk but for Ray's folder. Needs root and network namespaces.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.fakes.ray_head import ROOT, Head, kill

START_SECONDS = 120.0
_NETWORK = "10.88.0"


@dataclass(frozen=True, kw_only=True)
class Nodes:
    """head: reachable from every place. places: prefixes of commands; 0 is the head's, the last one has no Ray. pids:
    of `ray start`, in their order."""

    head: Head
    places: Sequence[tuple[str, ...]]
    pids: list[int] = field(default_factory=list)

    def kill_worker(self, number: int) -> None:
        """All processes of a node at once; 1 is the first behind the head."""
        kill(self.pids[number])


def missing() -> str:
    """Why there can be no such nodes here; "" where there can."""
    probe = ["unshare", "--net", "--mount", "ip", "link", "add", "probe", "type", "bridge"]
    try:
        done = subprocess.run(probe, capture_output=True, check=False)
    except FileNotFoundError as error:
        return f"{error.filename} is not installed"
    return "network namespaces with a bridge are not allowed here" if done.returncode else ""


@contextlib.contextmanager
def serve(workers: int) -> Iterator[Nodes]:
    """Start a head without CPUs and `workers` nodes with one each. End all of it by its ids."""
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="segfill-nodes-", ignore_cleanup_errors=True))
        for name in ("plugins", "ray"):
            (Path(folder) / name).mkdir()
        (Path(folder) / "plugins/tests").symlink_to(ROOT / "tests")
        places = stack.enter_context(_places(workers + 2, f"{folder}/ray"))
        token = secrets.token_hex(16)
        nodes = Nodes(head=Head(address=f"http://{_NETWORK}.1:8265", token=token), places=places)
        environment = {
            **os.environ,
            **nodes.head.environment(),
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
            "PYTHONPATH": f"{folder}/plugins",
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_worker_niceness": "0",
        }
        common = [
            *(str(Path(sys.executable).parent / "ray"), "start", "--block", "--disable-usage-stats"),
            *("--min-worker-port=0", "--max-worker-port=0", f"--object-store-memory={80 << 20}"),
        ]
        dashboard = ["--include-dashboard=true", f"--dashboard-host={_NETWORK}.1"]
        kinds = [["--head", "--port=6379", "--num-cpus=0", f"--temp-dir={folder}/ray", *dashboard]]
        kinds += [[f"--address={_NETWORK}.1:6379", "--num-cpus=1"]] * workers
        running: list[subprocess.Popen[bytes]] = []
        try:
            for number, kind in enumerate(kinds):
                command = [*places[number], *common, f"--node-ip-address={_NETWORK}.{number + 1}", *kind]
                with (Path(folder) / f"{number}.log").open("wb") as log:
                    running.append(
                        subprocess.Popen(
                            command, env=environment, cwd=folder, stdout=log, stderr=log, start_new_session=True
                        )
                    )
                nodes.pids.append(running[-1].pid)
                if not number:
                    _wait(nodes, Path(folder) / "0.log")
            waits = [sys.executable, "-m", "pipeline.cluster.wait_for_nodes", str(len(kinds)), str(START_SECONDS)]
            here = {**environment, "PYTHONPATH": str(ROOT), "RAY_ADDRESS": f"{_NETWORK}.1:6379"}
            done = subprocess.run([*places[0], *waits], env=here, capture_output=True, text=True, check=True)
            assert f"{len(kinds)} of {len(kinds)} nodes" in done.stdout, done
            yield nodes
        finally:
            for process in reversed(running):
                kill(process.pid)
                process.wait()


@contextlib.contextmanager
def _places(count: int, ray: str) -> Iterator[list[tuple[str, ...]]]:
    """So many networks on a bridge, which is in one more: nothing of it is in the machine's own. ray: a folder that is
    another one in each place."""
    holders: list[subprocess.Popen[bytes]] = []
    try:
        for _ in range(count + 1):
            start = f"mount -t tmpfs none {ray} && ip link set lo up && echo up && exec sleep inf"
            hold = ["unshare", "--net", "--mount", "sh", "-c", start]
            holders.append(subprocess.Popen(hold, stdout=subprocess.PIPE))
            out = holders[-1].stdout
            assert out is not None
            assert out.readline() == b"up\n"
        bridge, *others = holders
        inside = _inside(bridge)
        _ip(inside, "link add br0 type bridge", "link set br0 up")
        for number, other in enumerate(others, 1):
            _ip(inside, f"link add v{number} type veth peer name eth0 netns {other.pid}")
            _ip(inside, f"link set v{number} master br0", f"link set v{number} up")
            place = _inside(other)
            _ip(place, f"addr add {_NETWORK}.{number}/24 dev eth0", "link set eth0 up")
            _ip(place, f"route add default via {_NETWORK}.254")
        yield [_inside(other) for other in others]
    finally:
        for holder in holders:
            holder.kill()
            holder.wait()


def _inside(holder: subprocess.Popen[bytes]) -> tuple[str, ...]:
    return ("nsenter", f"--net=/proc/{holder.pid}/ns/net", f"--mount=/proc/{holder.pid}/ns/mnt", "--")


def _ip(place: Sequence[str], *commands: str) -> None:
    for command in commands:
        subprocess.run([*place, "ip", *command.split()], check=True, capture_output=True)


def _wait(nodes: Nodes, log: Path) -> None:
    """Until the dashboard answers in the last place."""
    asked = (
        "import sys, urllib.request as u; "
        "asked = u.Request(sys.argv[1], headers={'Authorization': 'Bearer ' + sys.argv[2]}); "
        "u.urlopen(asked, timeout=3).close()"
    )
    command = [*nodes.places[-1], sys.executable, "-c", asked, f"{nodes.head.address}/api/jobs/", nodes.head.token]
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if subprocess.run(command, capture_output=True, check=False).returncode == 0:
            return
        time.sleep(0.5)
    raise RuntimeError(f"the head did not start; the end of its log:\n{log.read_text(errors='replace')[-3000:]}")
