"""The sizes of the generative fill's network: read by the torch network (to train) and by the ONNX graph (to run)."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from pipeline.fill.inpaint import inpaint, softened
from pipeline.records import Mask, Rgb

CHANNELS: Final = 5
"""Of the input: RGB, mask, noise."""
STEM: Final = 5
"""Side of the first kernel."""
WIDTHS: Final = (32, 64, 128)
"""Channels at a half, a quarter and an eighth of the resolution."""
BODY: Final = (1, 2, 4, 1, 2, 4)
"""Dilation of each gated convolution at an eighth."""
ATTEND: Final = (2, 5)
"""After which of them the whole window is looked at."""
KEYS: Final = 32
"""Channels in which places are compared."""
UNKNOWN: Final = -8.0
"""Added to the logit of a place all of which is unknown."""
MULTIPLE: Final = 8
"""Sides are multiples of this."""


def window(pixels: Rgb, mask: Mask, seed: int) -> NDArray[np.float32]:
    """(5, h, w), what the network sees: RGB of -1..1 that is sketched where it is to be made up, the mask, noise.

    The sketch is what fill=diffuse makes of the known pixels; those under the mask are never read."""
    sketch = softened(inpaint(pixels, ~mask, 5.0, "ns"), mask, 0.5)
    image = np.where(mask[..., None], sketch, pixels).astype(np.float32) / np.float32(127.5) - 1
    return np.concatenate(
        [image.transpose(2, 0, 1), mask[None], (noise(seed, *mask.shape) * mask)[None]], dtype=np.float32
    )


def noise(seed: int, height: int, width: int) -> NDArray[np.float32]:
    """(height, width) normal: what the fifth channel is made of. The same numbers on every machine."""
    return np.random.default_rng(seed).standard_normal((height, width), np.float32)


def shapes() -> dict[str, tuple[int, ...]]:
    """The network's weights: name -> shape."""
    half, quarter, eighth = WIDTHS
    layers: dict[str, tuple[int, int, int]] = {  # near, far, side of the kernel
        "stem.conv": (CHANNELS, 2 * half, STEM),
        "down1.conv": (half, 2 * quarter, 3),
        "down2.conv": (quarter, 2 * eighth, 3),
        **{f"body.{number}.conv": (eighth, 2 * eighth, 3) for number in range(len(BODY))},
        **{f"{name}.conv": (half, half, 3) for name in ("fine", "fine1", "fine2")},
        **{f"{name}.conv": (quarter, quarter, 3) for name in ("middle", "middle1", "middle2")},
        "up1": (eighth, 4 * quarter, 1),
        "up2": (quarter, 4 * half, 1),
        "paint": (half, 4 * 3, 3),
    }
    for number in range(len(ATTEND)):
        for name, far in (("query", KEYS), ("key", KEYS), ("value", eighth), ("out", eighth)):
            layers[f"attend.{number}.{name}"] = (eighth, far, 1)
    kernels = {f"{name}.weight": (far, near, side, side) for name, (near, far, side) in layers.items()}
    return {**kernels, **{f"{name}.bias": (far,) for name, (_, far, _) in layers.items()}}
