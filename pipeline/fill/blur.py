"""Hides by a Gaussian blur. Reversible: the original can be restored well enough to be recognised."""

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
from pipeline.spec import spec

FINE = 4.0
"""Sigma in pixels above which a shrunken part is blurred: the result looks the same, and its cost does not grow with
sigma."""
REACH = 2.0
"""Width of the surroundings that blur into a part, in sigmas."""


@spec
class Blur(FillDefaults):
    """Blurs each connected part by a Gaussian of its size."""

    ratio: Annotated[float, Field(ge=0, le=10)] = 0.2
    """Sigma of the Gaussian as a share of the longer side of each connected part."""
    min_px: Annotated[float, Field(ge=1)] = 8.0
    """Minimum sigma in pixels."""
    allow_reversible: bool = False
    """Has to be true: models restore blurred faces well enough to name a person."""

    def __post_init__(self) -> None:
        check_reversible_allowed("blur", self.allow_reversible)

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
