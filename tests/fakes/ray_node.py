"""A node of a Ray cluster on loopback, in the foreground: `python -m tests.fakes.ray_node HEAD:PORT CORES FOLDER`.

`ray start --address` refuses loopback clusters; this does what `ray.cluster_utils.Cluster.add_node` does.
"""

import os
import signal
import sys

os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # all sockets on loopback, see execute/ray_cluster.py

from ray._private.node import Node
from ray._private.parameter import RayParams


def main() -> None:
    address, cores, folder = sys.argv[1:]
    Node(
        RayParams(
            gcs_address=address,
            redis_address=address,
            node_ip_address="127.0.0.1",
            num_cpus=int(cores),
            object_store_memory=100 << 20,
            min_worker_port=0,
            max_worker_port=0,
            node_manager_port=0,
            dashboard_agent_listen_port=None,
            temp_dir=folder,
        ),
        head=False,
        shutdown_at_exit=True,
        spawn_reaper=False,
    )
    signal.pause()


if __name__ == "__main__":
    main()
