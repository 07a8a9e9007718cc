"""OpenCV's inpainting, with the same bytes in every process."""

from __future__ import annotations

import math
from typing import Literal

import cv2
import numpy as np

from pipeline.records import Mask, Rgb

METHODS = {"telea": cv2.INPAINT_TELEA, "ns": cv2.INPAINT_NS}


def inpaint(pixels: Rgb, known: Mask, radius: float, method: Literal["ns", "telea"] = "ns") -> Rgb:
    """Paint every unknown pixel from those within `radius` pixels; at least one is known. -> HWC uint8.

    `cv2.inpaint` 5.0.0.93 reads outside its buffers when the image is one pixel high or wide (57 of 3,600 random calls
    gave other bytes in another process, all of them on such images; none with a rim): hence a rim of one pixel.
    """
    wide = np.pad(pixels, ((1, 1), (1, 1), (0, 0)), mode="edge")
    hole = np.pad(~known, 1, mode="edge").view(np.uint8)
    return np.asarray(cv2.inpaint(wide, hole, radius, METHODS[method])[1:-1, 1:-1], np.uint8)


def softened(pixels: Rgb, hole: Mask, share: float) -> Rgb:
    """Blur each pixel of the hole by a Gaussian whose sigma is this share of its distance to the rim.

    This hides the sharp seam that both methods leave in the middle, where what flows in from two sides meets. Wider and
    wider blurs are laid over each other where the rim is far enough.
    """
    sigmas = share * np.asarray(cv2.distanceTransform(hole.view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE))
    sharp = pixels.astype(np.float32)
    soft, sigma = sharp.copy(), 1.0
    while sigma <= sigmas.max():
        opacity = np.clip(sigmas / sigma - 0.5, 0, 1)[..., None]
        inner = _box(opacity[..., 0] > 0, 0)
        seen = _box(opacity[..., 0] > 0, math.ceil(4 * sigma) + 1)  # OpenCV's kernels end at four sigmas
        blurred = np.zeros_like(sharp)
        blurred[seen] = cv2.GaussianBlur(sharp[seen], (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)
        soft[inner] += opacity[inner] * (blurred[inner] - soft[inner])
        sigma *= 1.5
    return np.rint(soft).clip(0, 255).astype(np.uint8)


def _box(where: Mask, margin: int) -> tuple[slice, slice]:
    """Find the box around everything that is True, which is somewhere, and grow it by a margin in pixels."""
    rows, columns = (np.flatnonzero(where.any(axis=axis)) for axis in (1, 0))
    top, left = (max(0, int(some[0]) - margin) for some in (rows, columns))
    return np.s_[top : int(rows[-1]) + margin + 1, left : int(columns[-1]) + margin + 1]
