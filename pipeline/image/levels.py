"""Find which numbers are black and white in pixels of more than 8 bits, and scale them to 8.

Cameras, scanners, depth and thermal sensors write 10, 12 or 14 bits into 16 and mostly do not say so. Read by the range
of their type such pixels are nearly black: a detector finds nothing, and the image would be published as unchanged.
Only what models see and what is rendered with 8 bits is scaled; a PNG or TIFF keeps its own numbers outside a region.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ImageError

Range = tuple[float, float]
"""Black and white."""

_STRAY: Final = 0.01
"""Maximum share of pixels outside a declared range: these are clipped."""
_STEPS: Final = (8, 10, 12, 14, 16, 20, 24, 28)
"""Bits that integers are taken to use, the smallest that holds them."""
_HOT: Final = 100
"""Samples that may be larger than the bits that all others use: hot pixels and marks of a sensor, clipped to white. Too
few to be a face; in a small image at most a thousandth."""
_DARKEST: Final = 16
"""Floats that use less than this part of their range are rejected: 0.05 may be dark, or another unit."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Levels:
    """The numbers that become 0 and 255; black is above white where a TIFF says that white is zero.

    origin: `declared` by the file (a TIFF's SMinSampleValue and SMaxSampleValue or MinSampleValue and MaxSampleValue, a
    PNG's sBIT); `used`: by its numbers, as no range or that of its type is declared; `type`: of the type of the
    numbers, or decode.float_range.
    """

    black: float
    white: float
    origin: Literal["declared", "used", "type"]

    def __str__(self) -> str:
        return f"levels {self.black:g}..{self.white:g} ({self.origin})"


def levels_of(
    values: NDArray[Any], *, of_type: Range, declared: Range | None = None, white_is_zero: bool = False
) -> Levels:
    """Choose the levels of an image. values: of any shape, all samples of its colours. of_type: ends of the type, or
    decode.float_range.

    A declared range counts unless it is that of the type. Integers are taken to use the smallest of 8, 10, 12, 14, 16,
    20, 24 and 28 bits that holds all but `_HOT` of them; signed ones the same number of bits, if one is negative.
    Raises ImageError `out_of_range` for floats that use less than a sixteenth of their range.
    """
    origin: Literal["declared", "used", "type"] = "type"
    (black, white) = of_type
    if declared and declared != of_type:
        (black, white), origin = declared, "declared"
    elif values.dtype.kind == "f":
        lowest, highest = float(values.min()), float(values.max())
        if lowest < highest < black + (white - black) / _DARKEST:
            raise _out_of_range(black, white, lowest, highest)
    elif (used := _used(values)) and used[1] < white:
        (black, white), origin = used, "used"
    if white_is_zero:
        black, white = white, black
    return Levels(black=black, white=white, origin=origin)


def _used(values: NDArray[Any]) -> Range | None:
    hot = min(_HOT, values.size // 1000)
    signed = bool(values.dtype.kind == "i" and values.min() < 0)
    for bits in _STEPS:
        white = (1 << (bits - signed)) - 1
        if white >= np.iinfo(values.dtype).max:
            return None
        beyond = np.count_nonzero(values > white) + (np.count_nonzero(values < -white - 1) if signed else 0)
        if beyond <= hot:
            return float(-white - 1 if signed else 0), float(white)
    return None


def scale(values: NDArray[Any], black: float, white: float) -> NDArray[np.uint8]:
    """Scale numbers of any shape to uint8, rounded: `black` becomes 0, `white` 255 (16 bits are divided by just 257).

    Raises ImageError `not_finite`, and `out_of_range` when more than a hundredth of the values lies outside the range
    or when different values would all become one level.
    """
    lowest, highest = float(values.min()), float(values.max())
    if not np.isfinite([lowest, highest]).all():
        raise ImageError("not_finite", "expected finite numbers, got NaN or infinity in the pixels")
    if values.dtype.kind in "iu" and values.dtype.itemsize == 2:  # by a table: a tenth of the time and of the memory
        table = _scaled(np.arange(1 << 16, dtype=np.uint16).view(values.dtype.newbyteorder("=")), black, white)
        index = values.astype(values.dtype.newbyteorder("="), copy=False).view(np.uint16)
        outside = (table < 0) | (table > 255)
        stray = np.count_nonzero(outside[index]) if outside.any() else 0
        levels = np.clip(table, 0, 255).astype(np.uint8)[index]
    else:
        numbers = _scaled(values, black, white)
        stray = np.count_nonzero(numbers < 0) + np.count_nonzero(numbers > 255)
        levels = np.clip(numbers, 0, 255, out=numbers).astype(np.uint8)
    if stray > _STRAY * values.size or (lowest < highest and levels.min() == levels.max()):
        raise _out_of_range(black, white, lowest, highest)
    return levels


def unscale(levels: NDArray[np.uint8], black: float, white: float, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Turn 8-bit levels of any shape back to numbers of an image."""
    numbers = black + levels.astype(np.float64) * ((white - black) / 255)
    return (numbers if dtype.kind == "f" else np.rint(numbers)).astype(dtype)


def _scaled(values: NDArray[Any], black: float, white: float) -> NDArray[np.float64]:
    numbers = values.astype(np.float64)
    numbers -= black  # in place, here and below: a pixel takes eight bytes
    numbers *= 255.0 / (white - black)
    return np.rint(numbers, out=numbers)


def _out_of_range(black: float, white: float, lowest: float, highest: float) -> ImageError:
    return ImageError(
        "out_of_range",
        f"expected pixels that use {min(black, white):g}..{max(black, white):g}, got {lowest:g}..{highest:g}: "
        "declare the range in the TIFF's SMinSampleValue and SMaxSampleValue, or set decode.float_range",
    )
