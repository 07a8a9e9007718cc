"""Hides by a Gaussian blur. Reversible: what is blurred can be restored well enough to be recognised."""

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

FINE = 4.0
"""Sigma in pixels below which the blur is done at full size; a wider one is done on a shrunken part: it looks the
same, and its cost no longer grows with sigma."""
REACH = 2.0
"""Sigmas of surroundings that flow into a part."""


@dataclass(frozen=True, kw_only=True)
class Blur(FillDefaults):
    """share: sigma of the Gaussian as a share of the longer side of each connected part; min_px: its lower bound in
    pixels. allow_reversible: has to be true."""

    ratio: float = 0.2
    min_px: float = 8.0
    allow_reversible: bool = False

    def __post_init__(self) -> None:
        number("ratio", self.ratio, 0, 10)
        number("min_px", self.min_px, 1)
        allowed("blur", self.allow_reversible)

    @property
    def reversible(self) -> bool:
        return True

    @property
    def context(self) -> float:
        return REACH * self.ratio

    def load(self, device: Device, threads: int) -> FillModel:
        return PerCrop(self._paint)

    def _paint(self, crop: Crop) -> Rgb:
        painted = crop.pixels.copy()
        for part in parts(crop.mask):
            sigma = max(self.min_px, self.ratio * part.side)
            wide = part.grown(math.ceil(REACH * sigma), *crop.mask.shape)
            wide.of(painted)[wide.mask] = _blurred(wide.of(crop.pixels), sigma)[wide.mask]
        return painted


def _blurred(pixels: Rgb, sigma: float) -> Rgb:
    height, width = pixels.shape[:2]
    scale = min(1.0, FINE / sigma)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    small = cv2.GaussianBlur(small, (0, 0), sigma * scale, borderType=cv2.BORDER_REPLICATE)
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)
