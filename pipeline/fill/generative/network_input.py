"""What the generative fill's network sees of a window: a smooth sketch, the mask, and copied detail."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np

from pipeline.fill.generative.shiftmap import copied
from pipeline.fill.shared.inpaint import inpaint, softened
from pipeline.records import Floats, Mask, Rgb

CHANNELS: Final = 10
"""RGB of the sketch; the mask; RGB of the broad and of the fine difference between the copy and the sketch."""
MULTIPLE: Final = 8
"""Sides of a window are multiples of this many pixels."""
_BROAD: Final = 9
"""Side in pixels of the squares over which the broad difference is a mean."""


def network_input(pixels: Rgb, mask: Mask) -> Floats:
    """(CHANNELS, h, w), colours as -1..1. Outside the mask: the picture, and zeros.

    The sketch is made of the known pixels as by fill=diffuse, the copy by shiftmap.py from the sketch. Pixels under the
    mask are never read.
    """
    smooth = softened(inpaint(pixels, ~mask, 3.0, "ns"), mask, 0.5)
    sketch = np.where(mask[..., None], smooth, pixels).astype(np.uint8)
    difference = copied(sketch, mask).astype(np.float32) - sketch
    broad = cv2.blur(difference, (_BROAD, _BROAD), borderType=cv2.BORDER_REFLECT) * mask[..., None]
    colours = np.concatenate([broad, difference - broad], axis=-1) / np.float32(127.5)
    image = sketch / np.float32(127.5) - 1
    return np.concatenate([image.transpose(2, 0, 1), mask[None], colours.transpose(2, 0, 1)], dtype=np.float32)
