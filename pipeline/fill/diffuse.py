"""Fills by letting the surroundings flow in: OpenCV's Telea and Navier-Stokes."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from pipeline.contracts import FillModel
from pipeline.errors import ConfigError
from pipeline.fill.shared.base import FillDefaults
from pipeline.fill.shared.crops import GREY, PerCrop
from pipeline.fill.shared.fields import number
from pipeline.fill.shared.inpaint import METHODS, inpaint, softened
from pipeline.fill.shared.shrink import shrink
from pipeline.records import Crop, Device, Rgb


@dataclass(frozen=True, kw_only=True)
class Diffuse(FillDefaults):
    """For thin things such as text, on calm ground; a wide hole comes out smeared.

    method: `ns` (Bertalmio et al., Navier-Stokes, Fluid Dynamics, and Image and Video Inpainting, 2001) or `telea`
    (Telea, An Image Inpainting Technique Based on the Fast Marching Method, 2004), which drifts: a flat surface comes
    out up to 2 levels too bright in a hole 10 pixels wide, 12 in one of 200; `ns` is exact there.
    radius: pixels around a point that it is made of.
    soften: both leave a sharp seam in the middle, where what flows in from two sides meets; each pixel is blurred by a
    Gaussian of this share of its distance to the rim (0: the method's own result).
    side: a larger crop is filled at this size and enlarged again: what flows in has no detail to lose.
    """

    method: str = "ns"
    radius: float = 5.0
    soften: float = 0.5
    side: int = 512
    context: float = 0.1

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ConfigError(f"fill.method: expected telea or ns, got {self.method!r}")
        number("radius", self.radius, 1, 100)
        number("soften", self.soften, 0, 2)
        number("side", self.side, 16, whole=True)
        number("context", self.context, 0, 10)

    def load(self, device: Device, threads: int) -> FillModel:
        return PerCrop(self._paint)

    def _paint(self, crop: Crop) -> Rgb:
        if not crop.known.any():
            return np.full_like(crop.pixels, GREY)
        height, width = crop.mask.shape
        small, known = shrink(crop.pixels, crop.known, self.side)
        filled = inpaint(small, known, self.radius, self.method)
        filled = softened(filled, ~known, self.soften)
        if filled.shape[:2] == (height, width):
            return filled
        return np.asarray(cv2.resize(filled, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)
