"""From views and found masks to records, for every segmenter."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from pipeline.errors import ImageError
from pipeline.image import rle
from pipeline.records import Floats, Mask, Segment, Tile, View


class HasTag(Protocol):
    """Names a model in the tables."""

    @property
    def tag(self) -> str: ...


def whole(view: View) -> Tile:
    """The one tile of a view that shows the whole image. Raises ImageError for any other view."""
    if len(view.tiles) != 1 or view.tiles[0].box != (0.0, 0.0, float(view.width), float(view.height)):
        raise ImageError("wrong_view", f"expected one tile of the whole image, got {len(view.tiles)} of a part")
    return view.tiles[0]


def check_finite(*answers: Floats) -> None:
    """Raise ImageError for NaN or infinity in a model's answers: a failed computation must not pass as an empty
    result."""
    if not all(np.isfinite(answer).all() for answer in answers):
        raise ImageError("nan_scores", "the model answered with numbers that are not finite; try device=cpu")


def segment(
    crop: Mask, *, x: int, y: int, view: View, label: str, score: float, model: HasTag, class_id: int = 0
) -> Segment:
    """Record of the mask that is `crop` with its left upper pixel at x, y of the full-size image."""
    area, box = rle.extent_at(crop, view.height, view.width, x=x, y=y)
    return Segment(
        label=label,
        class_id=class_id,
        score=float(score),
        rle=rle.encode_at(crop, view.height, view.width, x=x, y=y),
        box=box,
        area=area,
        model=model.tag,
    )
