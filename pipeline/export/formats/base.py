"""What every format gets, and what it gives back."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pipeline.export.choice import SPLITS, Split
from pipeline.export.colours import Colour
from pipeline.export.parts import Document
from pipeline.export.pictures import Picture
from pipeline.export.polygons import Ring, covered, joined, overlap, rings_of
from pipeline.export.tables import Found, Row
from pipeline.render.draw import label_map

Shape: TypeAlias = Literal["rle", "polygons"]
Json: TypeAlias = Any
"""What json.dumps takes."""


@dataclass(frozen=True, kw_only=True)
class Shown:
    """One image that is exported. row: with the segments that are taken. name: of its picture, with a suffix. stem: the
    same without one, for what is named after it. picture: its bytes, where pictures are copied. uri: where it can be
    read, empty where images=none."""

    row: Row
    split: Split
    stem: str
    name: str
    picture: Picture | None
    uri: str

    def label_map(self) -> NDArray[np.uint16]:
        """(height, width) class ids, 0 where nothing is; where segments overlap, the one with the highest score."""
        return label_map(self.row.segments)


@dataclass(frozen=True, kw_only=True)
class Style:
    """How segments are written. classes: label -> id, from 1, of the whole output. stuff: labels that are no things.
    copied: pictures lie in the export."""

    classes: Mapping[str, int]
    colours: Mapping[str, Colour]
    shape: Shape
    tolerance: float
    stuff: frozenset[str]
    copied: bool
    about: str
    """Where the masks come from, in one line."""


@dataclass
class Loss:
    """How well polygons cover their masks. total: of the IoU over `count` segments."""

    count: int = 0
    total: float = 0.0
    least: float = 1.0

    def add(self, iou: float) -> None:
        self.count += 1
        self.total += iou
        self.least = min(self.least, iou)


@dataclass
class Made:
    """What a unit became. files: (path, bytes). lines: stream -> pieces of the documents. hidden: segments that others
    hide in every pixel, in a format that shows one segment a pixel."""

    files: list[tuple[str, bytes]] = field(default_factory=list)
    lines: dict[str, list[str]] = field(default_factory=dict)
    loss: Loss = field(default_factory=Loss)
    hidden: int = 0

    def add(self, stream: str, *pieces: str) -> None:
        self.lines.setdefault(stream, []).extend(pieces)

    def rings(self, found: Found, row: Row, tolerance: float, *, one: bool = False) -> list[Ring]:
        """The polygons of a segment, whose loss is noted. one: a single ring, the parts joined by bridges."""
        code = found.segment.rle
        rings = rings_of(code, row.height, row.width, tolerance)
        if one and rings:
            rings = [joined(rings)]
        self.loss.add(overlap(code, covered(rings, row.height, row.width), row.height, row.width) if rings else 0.0)
        return rings


class Format(Protocol):
    """One format. limits: what it cannot hold, in one line, or empty. shapes: that it can hold, its own
    first."""

    limits: str
    shapes: tuple[Shape, ...]
    embeds: bool
    """Pictures go into the format's own files, not beside them."""
    pictures: str
    """The folder of the pictures of a `{split}`, where they are copied beside."""

    def unit(self, unit_id: str, images: Sequence[Shown], style: Style) -> Made: ...

    def documents(self, style: Style, splits: Sequence[Split]) -> Iterator[Document]:
        """The files made of all units. splits: those that have an image."""


def per_split(images: Sequence[Shown]) -> Iterator[tuple[Split, list[Shown]]]:
    """The images of each split that has some."""
    for split in SPLITS:
        if some := [each for each in images if each.split == split]:
            yield split, some


def dumps(value: Json) -> str:
    """JSON on one line, any letter as it is."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def score_of(found: Found) -> float:
    """The score with the digits that a float32 has: the same order, and the same ties."""
    return float(f"{found.segment.score:.9g}")


def flat(ring: Ring, digits: int = 2) -> list[float]:
    """x1, y1, x2, y2, ... in pixels; a quarter of a pixel needs two digits."""
    return [round(value, digits) for value in ring.ravel().tolist()]
