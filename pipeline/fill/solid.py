"""Fills with one colour: a given one, or the mean of what surrounds each part."""

from __future__ import annotations

import re
from dataclasses import dataclass

import cv2
import numpy as np

from pipeline.contracts import FillModel
from pipeline.errors import ConfigError
from pipeline.fill.shared.base import FillDefaults
from pipeline.fill.shared.crops import PerCrop, Span, mean, parts
from pipeline.fill.shared.fields import number
from pipeline.records import Crop, Device, Rgb


@dataclass(frozen=True, kw_only=True)
class Solid(FillDefaults):
    """colour: `#rrggbb`, or `mean`: of the known pixels at most `ring` pixels from the connected part; of the whole
    crop when no known pixel is that near; mid-grey when none is known at all."""

    colour: str = "mean"
    ring: int = 8
    context: float = 0.0

    def __post_init__(self) -> None:
        if self.colour != "mean" and not re.fullmatch(r"#[0-9a-fA-F]{6}", str(self.colour)):
            raise ConfigError(f"fill.colour: expected mean or a colour such as '#808080', got {self.colour!r}")
        number("ring", self.ring, 1, 1000, whole=True)
        number("context", self.context, 0, 10)

    def load(self, device: Device, threads: int) -> FillModel:
        return PerCrop(self._paint)

    def _paint(self, crop: Crop) -> Rgb:
        if self.colour != "mean":
            return np.full_like(crop.pixels, list(bytes.fromhex(self.colour[1:])))
        painted = crop.pixels.copy()
        for part in parts(crop.mask):
            part.of(painted)[part.mask] = _surrounding(crop, part, self.ring)
        return painted


def _surrounding(crop: Crop, part: Span, ring: int) -> Rgb:
    """(3,) the mean colour around one part."""
    wide = part.grown(ring, *crop.mask.shape)
    near = cv2.distanceTransform((~wide.mask).view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE) <= ring
    near &= wide.of(crop.known)
    return mean(wide.of(crop.pixels), near) if near.any() else mean(crop.pixels, crop.known)
