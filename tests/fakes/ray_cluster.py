"""A Ray cluster of three nodes on loopback whose workers and nodes can be killed."""

from __future__ import annotations

import contextlib
import os
import random
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
from ray._private import ray_constants
from ray.cluster_utils import Cluster

from tests.fakes.crash_points import FOLDER, Trap

LOOPBACK = {ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR: "0"}
"""Turns off what Ray calls clusters: all sockets are then on loopback (execute/ray_data.py). Drivers need it too."""
STORE = 100 << 20


@dataclass(frozen=True)
class Nodes:
    """A head node for the driver and two worker nodes with a core each."""

    cluster: Cluster
    link: Path

    @property
    def address(self) -> str:
        return str(self.cluster.address)

    def add(self) -> None:
        self.cluster.add_node(num_cpus=1, node_ip_address="127.0.0.1", object_store_memory=STORE)

    def set(self, trap: Trap, folder: Path) -> dict[str, str]:
        """Arm a trap for workers that start from now on. Returns the environment of the driver."""
        trap.set(folder)
        self.unset()
        self.link.symlink_to(folder)
        return {**LOOPBACK, FOLDER: str(folder)}

    def unset(self) -> None:
        self.link.unlink(missing_ok=True)

    def kill_node(self, draw: random.Random) -> None:
        """Kill all processes of a node at once and start another node."""
        nodes = sorted(self.cluster.worker_nodes, key=lambda node: str(node.raylet_socket_name))
        self.cluster.remove_node(draw.choice(nodes), allow_graceful=False)
        self.add()

    def kill_worker(self, draw: random.Random) -> bool:
        """Kill one of the processes that work on a run. Returns False when there is none now."""
        raylets = [psutil.Process(node.all_processes["raylet"][0].process.pid) for node in self.cluster.worker_nodes]
        found = [child for raylet in raylets for child in raylet.children() if _works(child)]
        if not found:
            return False
        with contextlib.suppress(ProcessLookupError):
            os.kill(draw.choice(found).pid, signal.SIGKILL)
        return True


def _works(process: psutil.Process) -> bool:
    try:
        title = " ".join(process.cmdline())
    except psutil.Error:
        return False
    return title.startswith("ray::") and not any(other in title for other in ("Agent", "IDLE", "_StatsActor"))


@contextlib.contextmanager
def running(folder: Path) -> Iterator[Nodes]:
    """Start the cluster. Its workers read their traps through a link in `folder`."""
    link, clusters = folder / "traps", ray_constants.ENABLE_RAY_CLUSTER
    before = {name: os.environ.get(name) for name in (FOLDER, *LOOPBACK)}
    os.environ.update({FOLDER: str(link), **LOOPBACK})
    ray_constants.ENABLE_RAY_CLUSTER = False
    cluster = Cluster(
        initialize_head=True,
        head_node_args={
            "num_cpus": 0,
            "node_ip_address": "127.0.0.1",
            "object_store_memory": STORE,
            "include_dashboard": False,
        },
    )
    try:
        nodes = Nodes(cluster, link)
        nodes.add()
        nodes.add()
        yield nodes
    finally:
        cluster.shutdown()
        ray_constants.ENABLE_RAY_CLUSTER = clusters
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
