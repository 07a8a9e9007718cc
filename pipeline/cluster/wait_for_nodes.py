"""`python -m pipeline.cluster.wait_for_nodes COUNT SECONDS`: waits until so many nodes are part of the Ray cluster.

The cluster is that of RAY_ADDRESS. Goes on with those that came; exits with 1 where there is no cluster.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Sequence

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # before ray is imported: it reads this once

import ray

from pipeline.errors import EXIT_FAILED, EXIT_OK, one_line


def main(arguments: Sequence[str]) -> int:
    wanted, seconds = int(arguments[0]), float(arguments[1])
    address = os.environ["RAY_ADDRESS"]
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (OSError, RuntimeError, ValueError) as error:
        print(f"submit: no Ray cluster at {address}: {one_line(error)}", file=sys.stderr)
        return EXIT_FAILED
    deadline = time.monotonic() + seconds
    while (there := sum(node["Alive"] for node in ray.nodes())) < wanted and time.monotonic() < deadline:
        time.sleep(0.5)
    print(f"submit: {there} of {wanted} nodes at {address}" + ("" if there >= wanted else f" after {seconds:.0f} s"))
    ray.shutdown()
    return EXIT_OK


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
