"""View specs: how an image is fitted for a segmenter, and mapped back to full size.

A segmenter declares one of them, decode makes the tiles of its windows, and the segmenter maps its answer back with
`Tile.box`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias

from pipeline.records import Box

Resample: TypeAlias = Literal["bilinear", "area", "lanczos"]
"""bilinear: cv2.INTER_LINEAR. area: cv2.INTER_AREA to shrink, else bilinear. lanczos: Pillow's LANCZOS."""


@dataclass(frozen=True, kw_only=True)
class Window:
    """One tile to make. box: its part of the upright full-size image. height, width: of the tile in pixels."""

    box: Box
    height: int
    width: int


@dataclass(frozen=True, kw_only=True)
class Fit:
    """The whole image, shrunk until its longer side has at most `side` pixels; each side is then rounded up to
    `multiple`, which stretches by less than `multiple` pixels instead of padding, as deface does. extra: pixels beyond
    the multiple that each side has."""

    side: int
    multiple: int = 32
    extra: int = 0
    resample: Resample = "bilinear"

    def windows(self, height: int, width: int) -> tuple[Window, ...]:
        scale = min(1.0, self.side / max(height, width))
        return (
            Window(
                box=(0.0, 0.0, float(width), float(height)),
                height=round_up(height * scale, self.multiple, self.extra),
                width=round_up(width * scale, self.multiple, self.extra),
            ),
        )


@dataclass(frozen=True, kw_only=True)
class AtLeast:
    """The whole image, enlarged until its shorter side has `side` pixels, but its longer side at most `longest`; each
    side is then rounded to the nearest `multiple`, as PaddleOCR's `limit_type=min` does."""

    side: int
    longest: int
    multiple: int = 32
    resample: Resample = "bilinear"

    def windows(self, height: int, width: int) -> tuple[Window, ...]:
        scale = max(1.0, self.side / min(height, width))
        scale = min(scale, self.longest / max(height, width))
        near = [max(self.multiple, round(int(s * scale) / self.multiple) * self.multiple) for s in (height, width)]
        return (Window(box=(0.0, 0.0, float(width), float(height)), height=near[0], width=near[1]),)


@dataclass(frozen=True, kw_only=True)
class Square:
    """The whole image stretched to `side` x `side`."""

    side: int
    resample: Resample = "bilinear"

    def windows(self, height: int, width: int) -> tuple[Window, ...]:
        return (Window(box=(0.0, 0.0, float(width), float(height)), height=self.side, width=self.side),)


@dataclass(frozen=True, kw_only=True)
class Exact:
    """The whole image stretched to `height` x `width`."""

    height: int
    width: int
    resample: Resample = "bilinear"

    def windows(self, height: int, width: int) -> tuple[Window, ...]:
        return (Window(box=(0.0, 0.0, float(width), float(height)), height=self.height, width=self.width),)


@dataclass(frozen=True, kw_only=True)
class Tiles:
    """Tiles of `side` x `side` full-size pixels that overlap by at least `overlap` pixels. A smaller image is one tile
    of its own size."""

    side: int
    overlap: int
    resample: Resample = "bilinear"

    def windows(self, height: int, width: int) -> tuple[Window, ...]:
        return tuple(
            Window(
                box=(float(x), float(y), float(min(self.side, width)), float(min(self.side, height))),
                height=min(self.side, height),
                width=min(self.side, width),
            )
            for y in _starts(height, self.side, self.overlap)
            for x in _starts(width, self.side, self.overlap)
        )


ViewSpec: TypeAlias = Fit | AtLeast | Square | Exact | Tiles


def round_up(size: float, multiple: int, extra: int = 0) -> int:
    """The next whole number that is `extra` above a positive multiple of `multiple`."""
    return max(multiple, math.ceil((round(size, 6) - extra) / multiple) * multiple) + extra


def _starts(length: int, side: int, overlap: int) -> list[int]:
    """First pixel of each tile along one side of an image, evenly spaced."""
    if length <= side:
        return [0]
    count = math.ceil((length - overlap) / (side - overlap))
    return [round(i * (length - side) / (count - 1)) for i in range(count)]
