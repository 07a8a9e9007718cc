"""Hides by large blocks of one colour. Reversible: the means of blocks are made of the original."""

from __future__ import annotations

import math
from typing import Annotated

import cv2
import numpy as np
from pydantic import Field

from pipeline.contracts import FillModel
from pipeline.fill.shared.base import FillDefaults
from pipeline.fill.shared.crops import PerCrop, parts
from pipeline.fill.shared.fields import check_reversible_allowed
from pipeline.records import Crop, Device, Rgb
from pipeline.spec import Share, spec


@spec
class Pixelate(FillDefaults):
    """Replaces each connected part by blocks of its size."""

    ratio: Share = 0.15
    """Side of a block as a share of the longer side of each connected part."""
    min_px: Annotated[int, Field(ge=2)] = 8
    """Minimum side of a block in pixels."""
    allow_reversible: bool = False
    """Has to be true: models restore pixelated faces well enough to name a person."""

    def __post_init__(self) -> None:
        check_reversible_allowed("pixelate", self.allow_reversible)

    @property
    def reversible(self) -> bool:
        return True

    @property
    def context(self) -> float:
        return 0.0

    def load(self, device: Device, threads: int) -> FillModel:
        return PerCrop(self._paint)

    def _paint(self, crop: Crop) -> Rgb:
        painted = crop.pixels.copy()
        for part in parts(crop.mask):
            block = max(self.min_px, self.ratio * part.side)
            wide = part.grown(math.ceil(max(0.0, block - min(part.mask.shape)) / 2), *crop.mask.shape)
            wide.of(painted)[wide.mask] = _blocks(wide.of(crop.pixels), block)[wide.mask]
        return painted


def _blocks(pixels: Rgb, block: float) -> Rgb:
    """Pixelate a box, with blocks stretched a little so that a whole number of them covers it."""
    height, width = pixels.shape[:2]
    size = (max(1, math.floor(width / block)), max(1, math.floor(height / block)))
    small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_NEAREST), np.uint8)
