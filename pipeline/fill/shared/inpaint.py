"""How do the surroundings flow into a hole? OpenCV's inpainting, made the same in every process."""

from __future__ import annotations

import math
from typing import Literal

import cv2
import numpy as np

from pipeline.records import Mask, Rgb

METHODS = {"telea": cv2.INPAINT_TELEA, "ns": cv2.INPAINT_NS}


def inpaint(pixels: Rgb, known: Mask, radius: float, method: Literal["ns", "telea"] = "ns") -> Rgb:
    """HWC uint8 with every pixel that is not known made from those within `radius` pixels. At least one is known.

    `cv2.inpaint` 5.0.0.93 reads outside its buffers when the image is one pixel high or wide (57 of 3,600 random calls
    gave other bytes in another process, all of them on such images; none with a rim): a rim of one pixel keeps it in.
    """
    wide = np.pad(pixels, ((1, 1), (1, 1), (0, 0)), mode="edge")
    hole = np.pad(~known, 1, mode="edge").view(np.uint8)
    return np.asarray(cv2.inpaint(wide, hole, radius, METHODS[method])[1:-1, 1:-1], np.uint8)


def softened(pixels: Rgb, hole: Mask, share: float) -> Rgb:
    """Both methods leave a sharp seam in the middle, where what flows in from two sides meets: each pixel is blurred by
    a Gaussian of this share of its distance to the rim. Wider and wider blurs, each one laid over the last where the
    rim is far enough."""
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
    """Rows and columns around all that is True, of which there is some, and this many pixels more."""
    rows, columns = (np.flatnonzero(where.any(axis=axis)) for axis in (1, 0))
    top, left = (max(0, int(some[0]) - margin) for some in (rows, columns))
    return np.s_[top : int(rows[-1]) + margin + 1, left : int(columns[-1]) + margin + 1]
