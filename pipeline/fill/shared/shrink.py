"""Shrinks a crop without mixing in unknown pixels, and enlarges its fill again, in little memory."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np

from pipeline.records import Floats, Mask, Rgb

BAND = 1 << 20
"""Pixels that are held as floats at one time: bounds the memory for a crop of a hundred megapixels."""


def shrink(pixels: Rgb, known: Mask, side: int) -> tuple[Rgb, Mask]:
    """-> the crop with its longer side at most `side` pixels; HW bool, the new pixels made of known ones only.

    A new pixel is the mean of the known ones under it; its colour means nothing where there are none. When so little is
    known that no new pixel is made of known ones only, those made of any count as known.
    """
    height, width = known.shape
    scale = side / max(height, width)
    if scale >= 1:
        return pixels, known
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    if height * width <= 4 * BAND:
        covered, total = _area(pixels, known, size)
    else:  # the mean over an area is the mean along rows, then along columns
        thin = [_area(pixels[band], known[band], (size[0], band.stop - band.start)) for band in _bands(height, width)]
        covered, total = (
            np.asarray(cv2.resize(np.concatenate(part), size, interpolation=cv2.INTER_AREA), np.float32)
            for part in zip(*thin, strict=True)
        )
    small = np.rint(total / np.maximum(covered, 1e-6)[..., None]).clip(0, 255).astype(np.uint8)
    whole = covered > 0.999
    return small, whole if whole.any() else covered > 0


def enlarge(small: Rgb, into: Rgb, known: Mask) -> None:
    """Write a small picture, enlarged (bilinear between pixel centres), into the unknown pixels of a large one."""
    height, width = known.shape
    wide = np.asarray(cv2.resize(small, (width, len(small)), interpolation=cv2.INTER_LINEAR), np.uint8)
    centre = ((np.arange(height) + 0.5) * (len(small) / height) - 0.5).clip(0, len(small) - 1)
    first = centre.astype(np.int64)
    second = np.minimum(first + 1, len(small) - 1)
    share = (centre - first).astype(np.float32)[:, None, None]
    for band in _bands(height, width):
        near, far = wide[first[band]].astype(np.float32), wide[second[band]]
        rows = np.rint(near + share[band] * (far - near)).astype(np.uint8)
        np.copyto(into[band], rows, where=~known[band][..., None])


def _area(pixels: Rgb, known: Mask, size: tuple[int, int]) -> tuple[Floats, Floats]:
    """-> the known share of each new pixel, and the sum of the known colours under it times their shares."""
    weight = known.astype(np.float32)
    covered = cv2.resize(weight, size, interpolation=cv2.INTER_AREA)
    total = cv2.resize(pixels * weight[..., None], size, interpolation=cv2.INTER_AREA)
    return np.asarray(covered, np.float32), np.asarray(total, np.float32)


def _bands(height: int, width: int) -> Iterator[slice]:
    rows = max(1, BAND // width)
    for start in range(0, height, rows):
        yield slice(start, min(height, start + rows))
