"""The plain loop: one process, one unit after the other. The reference that every other executor must equal."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import cv2

from pipeline.errors import ConfigError
from pipeline.execute.isolate import WHOLE, ImageLimits, run_attempt
from pipeline.flow import Flow
from pipeline.plan import Plan
from pipeline.records import Committed, Device


@dataclass(frozen=True, kw_only=True)
class Local:
    """device: cpu or cuda. threads: intra-op threads of the models on the CPU; 1 gives the same bytes everywhere.
    image_seconds, image_mib: limits for one image."""

    device: Device = "cpu"
    threads: int = 1
    image_seconds: float = 300.0
    image_mib: int = 0

    def __post_init__(self) -> None:
        if self.device not in ("cpu", "cuda"):
            raise ConfigError(f"execute.device: expected cpu or cuda, got {self.device!r}")
        if self.threads < 1:
            raise ConfigError(f"execute.threads: expected at least 1, got {self.threads}")
        ImageLimits(seconds=self.image_seconds, memory_mib=self.image_mib)

    def check(self) -> None:
        """Nothing that could be away."""

    def run(self, flow: Flow, plan: Plan) -> Iterator[Committed]:
        cv2.setNumThreads(1)  # with more, some of its sums round otherwise and the bytes differ
        worker = flow.load(self.device, self.threads)
        limits = ImageLimits(seconds=self.image_seconds, memory_mib=self.image_mib)
        for pending in plan.pending:
            for batch in flow.source.units(pending.shard, pending.done):
                yield cast(Committed, run_attempt(WHOLE, worker, batch, limits))
