"""The segmenters as conf/ builds them, views of photographs for them, and what holds for all their segments."""

import io
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any

import numpy as np
from PIL import Image

from pipeline.image import rle
from pipeline.image.decode import Decode
from pipeline.image.view import ViewSpec
from pipeline.records import EncodedImage, ImageRef, Rgb, Segments, View
from tests.fakes.specs import preset


def spec_of(name: str, **changes: Any) -> Any:
    """The segmenter of conf/segment/<name>.yaml with `private=false`, and other values where given."""
    return preset("segment", name, **changes)


@cache
def loaded(name: str, **changes: Any) -> Any:
    return spec_of(name, **changes).load("cpu", 2)


def view_of(rgb: np.ndarray, spec: ViewSpec, name: str = "photo") -> View:
    """Decode a PNG of these pixels for a segmenter of this view."""
    out = io.BytesIO()
    Image.fromarray(rgb).save(out, "PNG", compress_level=0)
    image = EncodedImage(ref=ImageRef(image_id=name, key=name, member=f"{name}.png"), data=out.getvalue())
    (view,) = Decode().load().views(image, [spec])
    return view


class NanNetwork:
    """A network whose outputs are all NaN. shapes: (height, width) of a tile -> shapes of its outputs."""

    def __init__(self, shapes: Callable[[int, int], Sequence[tuple[int, ...]]]) -> None:
        self._shapes = shapes

    def each(self, tiles: Sequence[Rgb], prepare: object, batch: object) -> Iterator[tuple[int, list[np.ndarray]]]:
        for position, tile in enumerate(tiles):
            height, width, _ = tile.shape
            yield position, [np.full(shape, np.nan, np.float32) for shape in self._shapes(height, width)]


def masks_of(found: Segments) -> np.ndarray:
    """(n, height, width) bool."""
    masks = [rle.decode(s.rle, found.height, found.width) for s in found.segments]
    return np.array(masks, bool).reshape(len(masks), found.height, found.width)


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    """Intersection over union of two masks; 1 when both are empty."""
    both, either = np.logical_and(one, other).sum(), np.logical_or(one, other).sum()
    return float(both / either) if either else 1.0


def check_records(found: Segments, label: str, model: str) -> None:
    """Check the label, score, area and box of every segment."""
    for segment, mask in zip(found.segments, masks_of(found), strict=True):
        assert (segment.label, segment.class_id, segment.model) == (label, 0, model)
        assert 0 < segment.score <= 1
        assert segment.area == mask.sum() > 0
        y, x = np.nonzero(mask)
        assert segment.box == tuple(float(edge) for edge in (x.min(), y.min(), np.ptp(x) + 1, np.ptp(y) + 1))
