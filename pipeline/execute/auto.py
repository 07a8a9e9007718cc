"""The executor that fits: Ray where there is a cluster or a GPU, a process a core on a machine without."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

from pipeline.execute.base import Executor
from pipeline.execute.processes import Processes
from pipeline.execute.ray_pools import ends
from pipeline.execute.ray_settings import RaySettings
from pipeline.flow import Flow
from pipeline.plan import Plan
from pipeline.records import Committed
from pipeline.spec import spec


@spec
class Auto(RaySettings):
    def check(self, flow: Flow, plan: Plan) -> None:
        """Raise ConfigError as the chosen executor does."""
        self.chosen().check(flow, plan)

    def run(self, flow: Flow, plan: Plan) -> Iterator[Committed]:
        return self.chosen().run(flow, plan)

    def chosen(self) -> Executor:
        """Return the executor to use: execute.ray_data.RayData with an `address` or a GPU, else Processes."""
        if self.address or has_gpu():
            from pipeline.execute.ray_data import RayData  # importing Ray takes a second

            return RayData(**{field.name: getattr(self, field.name) for field in fields(RaySettings)})
        return Processes(
            workers=ends(self.workers)[1] or self.cpus,
            readers=self.readers,
            threads=self.threads,
            image_seconds=self.image_seconds,
            image_mib=self.image_mib,
        )


def has_gpu() -> bool:
    """Whether this machine has an NVIDIA GPU that CUDA_VISIBLE_DEVICES does not hide. Loads no driver."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "all")
    return visible not in ("", "-1") and any(Path("/dev").glob("nvidia[0-9]*"))
