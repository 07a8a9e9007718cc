"""Turns the segments of a unit into its `masks/` table, and those of an image into a cell."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import pyarrow as pa

from pipeline.records import Box, Rejected, Rendered
from pipeline.sink.tables import MASKS, table, utf8


@dataclass(frozen=True, kw_only=True, slots=True)
class MaskRow:
    """One row of `tables.MASKS`, one field a column."""

    image_id: str
    key: str
    segment_id: int
    class_id: int
    label: str
    score: float
    bbox: Box
    area: int
    rle: str
    height: int
    width: int
    model: str
    selected: bool


SEGMENTS: Final = pa.list_(pa.struct([field for field in MASKS if field.name not in ("image_id", "key")]))


def segments_of(item: Rendered) -> pa.Array:
    """Return the rows of one image as one cell, a list of structs."""
    names = [field.name for field in SEGMENTS.value_type]
    return pa.array([[{name: getattr(row, name) for name in names} for row in _rows(item)]], SEGMENTS)


def masks(items: Iterable[Rendered | Rejected]) -> pa.Table:
    """Return one row a segment, in source order, then in the order of the segmenters; rejected images have no rows."""
    return table(MASKS, [row for item in items if isinstance(item, Rendered) for row in _rows(item)])


def _rows(item: Rendered) -> Iterable[MaskRow]:
    chosen = frozenset(item.region.chosen)
    for position, segment in enumerate(item.segments.segments):
        yield MaskRow(
            image_id=item.ref.image_id,
            key=utf8(item.ref.key),
            segment_id=position,
            class_id=segment.class_id,
            label=segment.label,
            score=segment.score,
            bbox=segment.box,
            area=segment.area,
            rle=segment.rle.decode("ascii"),
            height=item.segments.height,
            width=item.segments.width,
            model=segment.model,
            selected=position in chosen,
        )
