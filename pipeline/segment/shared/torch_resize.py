"""Resizing on the device, equal to Pillow's to the last bit: image processors of transformers resize with Pillow."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from pipeline.models.torch_device import to_device

_BITS = 22
"""Fractional bits of a weight: Pillow computes in whole numbers (Resample.c, PRECISION_BITS)."""


def resized(pixels: torch.Tensor, size: tuple[int, int], resample: str) -> torch.Tensor:
    """Resize (3, h, w) of whole grey levels 0..255 to (3, *size) float32 of whole grey levels: first along the rows,
    rounded, then along the columns. resample: nearest, bilinear or bicubic; the last two are antialiased."""
    if resample == "nearest":
        return functional.interpolate(pixels[None].float(), size=size, mode="nearest-exact")[0]
    pixels = pixels.int()
    for axis, length in ((2, size[1]), (1, size[0])):
        if pixels.shape[axis] != length:
            pixels = _along(pixels, axis, *_taps(pixels.shape[axis], length, resample, pixels.device))
    return pixels.float()


def _along(pixels: torch.Tensor, axis: int, places: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Each new pixel is the sum of the pixels at its places times their weights, both (taps, length)."""
    lines = pixels.movedim(axis, 0).contiguous()  # fetches whole lines: ten times as fast as single pixels
    total = lines.new_full((places.shape[1], *lines.shape[1:]), 1 << (_BITS - 1))  # a half, so that the shift rounds
    for place, weight in zip(places, weights, strict=True):
        total.addcmul_(lines.index_select(0, place), weight[:, None, None])
    return (total >> _BITS).clamp_(0, 255).movedim(0, axis)


@lru_cache(maxsize=64)
def _taps(length: int, new: int, resample: str, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Places (taps, new) int64 and weights (taps, new) int32, as in precompute_coeffs of Pillow's Resample.c."""
    scale = length / new
    stretch = max(scale, 1.0)
    reach = stretch * (2.0 if resample == "bicubic" else 1.0)
    centre = (np.arange(new) + 0.5) * scale
    low = np.maximum(0, np.trunc(centre - reach + 0.5)).astype(np.int64)
    high = np.minimum(length, np.trunc(centre + reach + 0.5)).astype(np.int64)
    places = low + np.arange(int((high - low).max()))[:, None]
    far = np.abs((places - centre + 0.5) / stretch)
    values = np.where(places < high, _bicubic(far) if resample == "bicubic" else np.maximum(0, 1 - far), 0)
    values = values / values.sum(0) * (1 << _BITS)
    weights = np.trunc(values + np.copysign(0.5, values)).astype(np.int32)
    return to_device(np.minimum(places, length - 1), torch.int64, device), to_device(weights, torch.int32, device)


def _bicubic(far: NDArray[np.float64]) -> NDArray[np.float64]:
    """Keys' cubic convolution with a = -0.5."""
    near = ((1.5 * far - 2.5) * far) * far + 1
    beyond = (((far - 5) * far + 8) * far - 4) * -0.5
    return np.where(far < 1, near, np.where(far < 2, beyond, 0))
