"""The plain loop: one process, one unit after the other. The reference that every other executor must equal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import cv2

from pipeline.execute.base import ExecutorBase
from pipeline.execute.isolate import WHOLE, run_attempt
from pipeline.flow import Flow
from pipeline.plan import Plan
from pipeline.records import Committed, Device
from pipeline.spec import spec


@spec
class Local(ExecutorBase):
    device: Device = "cpu"
    """Where the models run."""

    def check(self, flow: Flow, plan: Plan) -> None:
        """Always available."""

    def run(self, flow: Flow, plan: Plan) -> Iterator[Committed]:
        cv2.setNumThreads(1)  # with more, some of its sums round otherwise and the bytes differ
        worker = flow.load(self.device, self.threads)
        for pending in plan.pending:
            for batch in flow.source.units(pending.shard, pending.done):
                yield cast("Committed", run_attempt(WHOLE, worker, batch, self.limits))
