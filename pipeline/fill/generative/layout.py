"""The sizes of the generative fill's network: read by the torch network (to train) and by the ONNX graph (to run)."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.fill.generative.shiftmap import copied
from pipeline.fill.shared.inpaint import inpaint, softened
from pipeline.records import Mask, Rgb

CHANNELS: Final = 10
"""Of the input: the sketch's RGB; the mask; how a copy from afar differs from the sketch, broadly and finely."""
SKETCH: Final = (0, 3)
"""First and last + 1 of its channels."""
BLUR: Final = 9
"""Pixels over which the broad difference is a mean."""
PAINTED: Final = 5
"""What the network says of each pixel: RGB to add, and how much more of either difference to take."""
COPIES: Final = ((3, (4, 7), 0.75), (4, (7, 10), 1.0))
"""Broad and fine: which of PAINTED says how much more to take, the channels of the input, and how much is taken before
anything is learnt."""
STEM: Final = 3
"""Side of the first kernel."""
WIDTHS: Final = (32, 64, 128)
"""Channels at a half, a quarter and an eighth of the resolution."""
BODY: Final = (1, 2, 4, 1)
"""Dilation of each gated convolution at an eighth."""
ATTEND: Final = (3,)
"""After which of them the whole window is looked at."""
KEYS: Final = 32
"""Channels in which places are compared."""
UNKNOWN: Final = -8.0
"""Added to the logit of a place all of which is unknown."""
COARSE: Final = 4
"""Pixels a side of what the network says one thing of; between them it is interpolated."""
MULTIPLE: Final = 8
"""Sides are multiples of this."""


def window(pixels: Rgb, mask: Mask) -> NDArray[np.float32]:
    """(CHANNELS, h, w), what the network sees, colours as -1..1. Outside the mask: the picture, and zeros.

    The sketch is made of the known pixels as by fill=diffuse, the copy what shiftmap.py makes of both; pixels under the
    mask are never read."""
    smooth = softened(inpaint(pixels, ~mask, 3.0, "ns"), mask, 0.5)
    sketch = np.where(mask[..., None], smooth, pixels).astype(np.uint8)
    difference = copied(sketch, mask).astype(np.float32) - sketch
    broad = cv2.blur(difference, (BLUR, BLUR), borderType=cv2.BORDER_REFLECT) * mask[..., None]
    colours = np.concatenate([broad, difference - broad], axis=-1) / np.float32(127.5)
    image = sketch / np.float32(127.5) - 1
    return np.concatenate([image.transpose(2, 0, 1), mask[None], colours.transpose(2, 0, 1)], dtype=np.float32)


def shapes() -> dict[str, tuple[int, ...]]:
    """The network's weights: name -> shape."""
    half, quarter, eighth = WIDTHS
    layers: dict[str, tuple[int, int, int]] = {  # near, far, side of the kernel
        "stem.conv": (CHANNELS, 2 * half, STEM),
        "down1.conv": (half, 2 * quarter, 3),
        "down2.conv": (quarter, 2 * eighth, 3),
        **{f"body.{number}.conv": (eighth, 2 * eighth, 3) for number in range(len(BODY))},
        **{f"{name}.conv": (quarter, quarter, 3) for name in ("middle", "middle1", "middle2")},
        "up1": (eighth, 4 * quarter, 1),
        "paint": (quarter, PAINTED, 3),
    }
    for number in range(len(ATTEND)):
        for name, far in (("query", KEYS), ("key", KEYS), ("value", eighth), ("out", eighth)):
            layers[f"attend.{number}.{name}"] = (eighth, far, 1)
    kernels = {f"{name}.weight": (far, near, side, side) for name, (near, far, side) in layers.items()}
    return {**kernels, **{f"{name}.bias": (far,) for name, (_, far, _) in layers.items()}}
