"""Fades a fill to the nearest known pixels. The original at the same place takes no part: that would publish it."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.records import Floats, Mask, Rgb


def nearest_known(pixels: Rgb, known: Mask) -> tuple[Floats, NDArray[np.int32], Floats]:
    """Find the nearest known pixel of every pixel; at least one is known.

    -> (h, w) distance to it; (h, w) its number; (n, 3) the colours by number.
    """
    distance, number = cv2.distanceTransformWithLabels(
        (~known).view(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    colours = np.zeros((int(number.max()) + 1, 3), np.float32)
    colours[number[known]] = pixels[known]
    return np.asarray(distance, np.float32), np.asarray(number, np.int32), colours


def fade(painted: Rgb | Floats, nearest: Floats, distance: Floats, feather: int) -> Floats:
    """Mix colours (n, 3) with those of the nearest known pixels: a distance of feather + 1 takes all of `painted`."""
    share = np.clip(distance / (feather + 1), 0, 1)[:, None]
    return np.asarray(painted * share + nearest * (1 - share), np.float32)
