"""What every executor does and has: threads of the models, and the limits of one image."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Protocol

from pydantic import Field

from pipeline.execute.isolate import ImageLimits
from pipeline.flow import Flow
from pipeline.plan import Plan
from pipeline.records import Committed
from pipeline.spec import spec


class Executor(Protocol):
    def check(self, flow: Flow, plan: Plan) -> None:
        """Raise ConfigError when its cluster or machine is out of reach, or a node of it cannot do this work. Called
        before anything is written."""

    def run(self, flow: Flow, plan: Plan) -> Iterator[Committed]:
        """Yield every pending unit as it is committed, in any order."""


@spec
class ExecutorBase:
    threads: Annotated[int, Field(ge=1)] = 1
    """Intra-op threads of a model on the CPU; 1 gives the same bytes everywhere."""
    image_seconds: Annotated[float, Field(gt=0)] = 300.0
    """Seconds for one image in one stage, and in all of them for an image that runs alone. A worker that takes longer
    is ended, and its unit is tried again."""
    image_mib: Annotated[int, Field(ge=0)] = 0
    """Memory in MiB that an image may add to its process when it runs alone, because its unit killed two workers; 0:
    half of what is free (known on Linux; elsewhere without a limit)."""

    @property
    def limits(self) -> ImageLimits:
        return ImageLimits(seconds=self.image_seconds, memory_mib=self.image_mib)
