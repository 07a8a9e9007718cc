"""How is a crop made smaller without mixing in what is not known?"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.records import Mask, Rgb


def shrink(pixels: Rgb, known: Mask, side: int) -> tuple[Rgb, Mask]:
    """The crop with its longer side at most `side` pixels, and which of the new pixels are made of known ones only.

    A new pixel is the mean of the known ones under it; its colour means nothing where there are none. When hardly
    anything is known, so that no new pixel is made of known ones only, those that have any count as known.
    """
    height, width = known.shape
    scale = side / max(height, width)
    if scale >= 1:
        return pixels, known
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    weight = known.astype(np.float32)
    covered: NDArray[np.float32] = np.asarray(cv2.resize(weight, size, interpolation=cv2.INTER_AREA), np.float32)
    total = cv2.resize(pixels * weight[..., None], size, interpolation=cv2.INTER_AREA)
    small = np.rint(total / np.maximum(covered, 1e-6)[..., None]).clip(0, 255).astype(np.uint8)
    whole = covered > 0.999
    return small, whole if whole.any() else covered > 0
