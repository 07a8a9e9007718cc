"""Base of fills that run a network on windows, and the conversion of windows to arrays and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ConfigError, ImageError
from pipeline.fill.shared.base import ContextFill
from pipeline.fill.shared.windows import FillWindow, Windowing
from pipeline.models.weights import Weights
from pipeline.records import Rgb
from pipeline.spec import spec


@spec
class NetworkFill(ContextFill):
    """Base of fills that run a network on windows. suffixes: of the files that the family reads."""

    model: Weights
    """File of the network."""
    windowing: Windowing
    """Which windows the network takes, and how they become part of a crop."""

    suffixes: ClassVar[tuple[str, ...]] = (".onnx",)

    def __post_init__(self) -> None:
        if self.model.path.suffix.lower() not in self.suffixes:
            raise ConfigError(
                f"fill.model: expected the weights of a {' or '.join(self.suffixes)} file, got {self.model!r}"
            )

    @property
    def weights(self) -> tuple[Weights, ...]:
        return (self.model,)


def planes(windows: Sequence[FillWindow]) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Stack windows of one shape. -> (n, 3, h, w) uint8 pixels and (n, 1, h, w) bool masks, True = to be painted."""
    pixels = np.stack([window.pixels.transpose(2, 0, 1) for window in windows])
    return np.ascontiguousarray(pixels), np.stack([window.mask[None] for window in windows])


def pictures(answer: NDArray[np.generic], windows: Sequence[FillWindow]) -> list[Rgb]:
    """Convert an answer to one RGB picture a window.

    answer: (n, 3, h, w), uint8, or float32 of 0..255 that is rounded and clipped. Raises ImageError `wrong_shape`, and
    `nan_pixels` for numbers that are not finite: a failed fill is never published.
    """
    height, width = windows[0].mask.shape
    if answer.shape != (len(windows), 3, height, width):
        expected = f"{len(windows)}x3x{height}x{width}"
        raise ImageError(
            "wrong_shape", f"expected {expected} from the fill's network, got {'x'.join(map(str, answer.shape))}"
        )
    if answer.dtype != np.uint8:
        if not np.isfinite(answer).all():
            raise ImageError(
                "nan_pixels", "the fill's network answered with numbers that are not finite; try device=cpu"
            )
        answer = np.rint(answer.astype(np.float32, copy=False)).clip(0, 255).astype(np.uint8)
    return [np.asarray(one, np.uint8) for one in answer.transpose(0, 2, 3, 1)]
