"""Fills by diffusing the surroundings into the hole: OpenCV's Telea and Navier-Stokes."""

from __future__ import annotations

from typing import Annotated, Literal

import cv2
import numpy as np
from pydantic import Field

from pipeline.contracts import FillModel
from pipeline.fill.shared.base import ContextFill
from pipeline.fill.shared.crops import GREY, PerCrop
from pipeline.fill.shared.fields import Context
from pipeline.fill.shared.inpaint import inpaint, softened
from pipeline.fill.shared.shrink import shrink
from pipeline.records import Crop, Device, Rgb
from pipeline.spec import spec


@spec
class Diffuse(ContextFill):
    """For thin things such as text, on calm ground; a wide hole comes out smeared."""

    method: Literal["ns", "telea"] = "ns"
    """`ns` (Bertalmio et al., Navier-Stokes, Fluid Dynamics, and Image and Video Inpainting, 2001) or `telea` (Telea,
    An Image Inpainting Technique Based on the Fast Marching Method, 2004), which drifts: a flat surface comes out up to
    2 levels too bright in a hole 10 pixels wide, 12 in one of 200; `ns` is exact there."""
    radius: Annotated[float, Field(ge=1, le=100)] = 5.0
    """Radius in pixels of the neighbourhood that a pixel is made of."""
    soften: Annotated[float, Field(ge=0, le=2)] = 0.5
    """Sigma of a Gaussian blur, as a share of a pixel's distance to the rim: it hides the sharp seam that both methods
    leave in the middle, where the flows from two sides meet. 0: the method's own result."""
    side: Annotated[int, Field(ge=16)] = 512
    """Longer side in pixels above which a crop is filled shrunk and enlarged: the result has no detail to lose."""
    context: Context = 0.1

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
