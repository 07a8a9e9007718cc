"""Fills nothing: segments are written, pixels stay."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.contracts import FillModel
from pipeline.fill.shared.base import FillDefaults
from pipeline.records import Crop, Device, Patch
from pipeline.spec import spec


@spec
class NoFill(FillDefaults):
    """For annotation: no crops are cut and no pixel is changed."""

    @property
    def active(self) -> bool:
        return False

    @property
    def context(self) -> float:
        return 0.0

    def load(self, device: Device, threads: int) -> FillModel:
        return _nothing


def _nothing(crops: Sequence[Crop]) -> list[Patch]:
    if crops:
        raise ValueError("fill none makes no patches, so no crops are cut for it")
    return []
