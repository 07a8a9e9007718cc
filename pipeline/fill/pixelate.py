"""Hides by large blocks of one colour. Reversible: a block's mean tells of what was there."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from pipeline.contracts import FillModel
from pipeline.fill.shared.base import FillDefaults
from pipeline.fill.shared.crops import PerCrop, parts
from pipeline.fill.shared.fields import allowed, number
from pipeline.records import Crop, Device, Rgb


@dataclass(frozen=True, kw_only=True)
class Pixelate(FillDefaults):
    """share: side of a block as a share of the longer side of each connected part; min_px: its lower bound in
    pixels. allow_reversible: has to be true."""

    ratio: float = 0.15
    min_px: int = 8
    allow_reversible: bool = False

    def __post_init__(self) -> None:
        number("ratio", self.ratio, 0, 1)
        number("min_px", self.min_px, 2, whole=True)
        allowed("pixelate", self.allow_reversible)

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
    """The blocks are stretched a little so that a whole number of them covers the box."""
    height, width = pixels.shape[:2]
    size = (max(1, math.floor(width / block)), max(1, math.floor(height / block)))
    small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_NEAREST), np.uint8)
