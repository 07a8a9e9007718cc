"""The fields of the executors that may use Ray, without importing it: the import alone takes a second."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from pipeline.execute.base import ExecutorBase
from pipeline.execute.ray_pools import Size, check_share, check_sizes
from pipeline.spec import spec


@spec
class RaySettings(ExecutorBase):
    address: str = ""
    """Of a running cluster (`auto`, or HOST:PORT of its head) of which this machine is a node; it must ask for a token
    unless it is on loopback. Empty: start Ray on this machine alone, on loopback, whatever RAY_ADDRESS says."""
    cpus: Annotated[int, Field(ge=0)] = 0
    """Cores to start Ray with on this machine; 0: all."""
    workers: Size = 0
    """Actors of the fused layout, a core each: a number, or [min, max] between which the pool scales with the load; 0:
    all cores, and on a cluster (with an address) those of nodes that join, too."""
    wait_seconds: Annotated[float, Field(ge=0)] = 600.0
    """Seconds to wait for a node with a free core, and for the check of all nodes, before the run gives up."""
    readers: Annotated[int, Field(ge=0)] = 0
    """Shards that are read at the same time; 0: a quarter of the cores, at least 1."""
    segment_actors: Size = 0
    """Actors of the staged layout that segment: a number, or [min, max] between which the pool scales with the load; 0:
    one a GPU, or one."""
    fill_actors: Size = 0
    """Actors of the staged layout that fill, in the same way."""
    gpus: Annotated[float, Field(ge=0)] = 0.0
    """GPUs for each actor that has a network: a share up to 1, or a whole number; 0: a whole one where there are any, a
    half where segment and fill both have a network."""
    units: Annotated[int, Field(ge=1)] = 1
    """Units that such an actor takes at a time, so that its batches are full. No result depends on it on the CPU."""
    store_mib: Annotated[int, Field(ge=80)] = 512
    """Memory in MiB of Ray's object store on this machine."""

    def __post_init__(self) -> None:
        check_sizes(workers=self.workers, segment_actors=self.segment_actors, fill_actors=self.fill_actors)
        check_share(self.gpus)
