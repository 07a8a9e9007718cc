"""Fills with one colour: a given one, or the mean of what surrounds each part."""

from __future__ import annotations

import re
from typing import Annotated

import cv2
import numpy as np
from PIL import ImageColor
from pydantic import Field

from pipeline.contracts import FillModel
from pipeline.errors import ConfigError, nearest
from pipeline.fill.shared.base import ContextFill
from pipeline.fill.shared.crops import PerCrop, Span, mean, parts
from pipeline.fill.shared.fields import Context
from pipeline.records import Crop, Device, Rgb
from pipeline.spec import spec


@spec
class Solid(ContextFill):
    """Paints each connected part in one colour."""

    colour: str = "mean"
    """`#rrggbb`, `#rgb`, a name that CSS has, such as `black`, or `mean`: of the known pixels at most `ring` pixels
    from the connected part; of the whole crop when no known pixel is that near; mid-grey when none is known at all."""
    ring: Annotated[int, Field(ge=1, le=1000)] = 8
    """Distance in pixels up to which known pixels count for the mean."""
    context: Context = 0.0

    def __post_init__(self) -> None:
        if self.colour != "mean" and not self._rgb:
            raise ConfigError(
                f"fill.colour: expected mean, #rrggbb, or a name such as black, got {self.colour!r}"
                + nearest(self.colour, ("mean", *ImageColor.colormap))
            )

    @property
    def _rgb(self) -> tuple[int, ...]:
        """(3,) 0..255; () for what is no colour."""
        named = self.colour.lower() in ImageColor.colormap
        if not named and not re.fullmatch(r"#([0-9a-fA-F]{3}){1,2}", self.colour):
            return ()
        return ImageColor.getrgb(self.colour)[:3]

    def load(self, device: Device, threads: int) -> FillModel:
        return PerCrop(self._paint)

    def _paint(self, crop: Crop) -> Rgb:
        if self.colour != "mean":
            return np.full_like(crop.pixels, self._rgb)
        painted = crop.pixels.copy()
        for part in parts(crop.mask):
            part.of(painted)[part.mask] = _surrounding(crop, part, self.ring)
        return painted


def _surrounding(crop: Crop, part: Span, ring: int) -> Rgb:
    """(3,) uint8, the mean colour around one part."""
    wide = part.grown(ring, *crop.mask.shape)
    near = cv2.distanceTransform((~wide.mask).view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE) <= ring
    near &= wide.of(crop.known)
    return mean(wide.of(crop.pixels), near) if near.any() else mean(crop.pixels, crop.known)
