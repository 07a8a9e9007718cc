"""Fills with texture copied from the surroundings of the hole."""

from __future__ import annotations

import math
from typing import Annotated

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pipeline.contracts import FillModel
from pipeline.errors import ImageError
from pipeline.fill.exemplar.patchmatch import Places, complete
from pipeline.fill.shared.base import ContextFill
from pipeline.fill.shared.crops import GREY, PerCrop
from pipeline.fill.shared.shrink import shrink
from pipeline.records import Crop, Device, Mask, Rgb
from pipeline.spec import spec

BLOCK = 1 << 18
"""Pixels that are copied at one time: bounds the memory."""


@spec
class Exemplar(ContextFill):
    """For holes in texture: grass, fabric, brick, crowds. Repeats what is there; knows no faces and no objects."""

    side: Annotated[int, Field(ge=16, le=1024)] = 256
    """Longer side in pixels to which a larger crop is shrunk to find where each pixel is best copied from; the copies
    are made at full size, so the result is as sharp as its surroundings."""

    def load(self, device: Device, threads: int) -> FillModel:
        return PerCrop(self._paint)

    def _paint(self, crop: Crop) -> Rgb:
        if not crop.known.any():
            return np.full_like(crop.pixels, GREY)
        small, known = shrink(crop.pixels, crop.known, self.side)
        image, places, found = complete(small, known, crop.seed)
        if image.shape != small.shape or places.shape != (*known.shape, 2):
            raise ImageError("fill_failed", f"expected {small.shape} filled pixels, got {image.shape}, {places.shape}")
        return _copied(crop, image, places, found)


def _copied(crop: Crop, image: Rgb, places: Places, found: Mask) -> Rgb:
    """Make at full size the copies that were found at a small one.

    A pixel is blended from the copies that the nine small pixels around it stand for: where they agree, which is
    everywhere but along seams, that is one sharp pixel. Where none of them is known at full size, it is taken from the
    enlarged small image.
    """
    height, width = crop.mask.shape
    painted = np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8).copy()
    shift = places - np.moveaxis(np.indices(found.shape), 0, -1)
    seam = _seams(shift) | ~found
    holes = np.argwhere(~crop.known)
    for block in np.array_split(holes, math.ceil(len(holes) / BLOCK)):
        _copy(crop, painted, block, shift, found, seam)
    return painted


def _copy(crop: Crop, painted: Rgb, pixel: NDArray[np.int64], shift: Places, found: Mask, seam: Mask) -> None:
    """Write the copies of some pixels, (n, 2) rows and columns, into `painted`."""
    scale = np.array(crop.mask.shape) / np.array(found.shape)
    centre = (pixel + 0.5) / scale
    total, weights = np.zeros((len(pixel), 3), np.float32), np.zeros((len(pixel), 1), np.float32)
    everywhere, near_seam = np.arange(len(pixel)), np.flatnonzero(seam[tuple(centre.astype(np.int64).T)])
    for step in np.ndindex(3, 3):
        rows = everywhere if step == (1, 1) else near_seam
        cell = centre[rows].astype(np.int64) + np.array(step) - 1
        (y, x), usable = _at(cell, found)
        (y, x), there = _at(pixel[rows] + np.rint(shift[y, x] * scale).astype(np.int64), crop.known)
        tent = np.maximum(0, 1.5 - np.abs(cell + 0.5 - centre[rows])).prod(axis=1)
        weight = (tent * (usable & there))[:, None].astype(np.float32)
        total[rows] += crop.pixels[y, x] * weight
        weights[rows] += weight
    sure = weights[:, 0] > 0
    painted[tuple(pixel[sure].T)] = np.rint(total[sure] / weights[sure]).astype(np.uint8)


def _seams(shift: Places) -> Mask:
    """Mark where the nine small pixels around one do not all stand for the same shift."""
    field, kernel = shift.astype(np.float32), np.ones((3, 3), np.uint8)
    return np.asarray((cv2.dilate(field, kernel) != cv2.erode(field, kernel)).any(axis=-1))


def _at(place: NDArray[np.int64], where: Mask) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """-> (2, n) rows and columns of the (n, 2) places, clipped to the mask; (n,) bool: inside, with the mask True."""
    inside = np.clip(place, 0, np.array(where.shape) - 1)
    return inside.T, (place == inside).all(axis=1) & where[inside[:, 0], inside[:, 1]]
