"""LaMa on the CPU, whatever device the run chooses: for clusters that declare GPUs and have none."""

from __future__ import annotations

from pipeline.contracts import FillModel
from pipeline.fill.lama import Lama
from pipeline.records import Device
from pipeline.spec import spec


@spec
class AnywhereLama(Lama):
    def load(self, device: Device, threads: int) -> FillModel:
        return super().load("cpu", threads)
