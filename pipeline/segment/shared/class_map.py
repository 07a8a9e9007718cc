"""From the answers of a network to segments: the best class of each pixel and a mask per class, or a mask per object.

For every family whose classes have names, with torch or without. Resizing is bilinear between pixel centres, as
`torch.nn.functional.interpolate(align_corners=False)` and the post-processing of transformers do it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final, Generic, TypeAlias, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.image import rle
from pipeline.models.weights import Weights
from pipeline.records import Floats, Mask, Rgb, Segment, Segments, View
from pipeline.segment.shared.fields import Names, check_suffix
from pipeline.segment.shared.masks import HasTag, check_finite, segment, whole
from pipeline.spec import FieldError, spec

Ids: TypeAlias = NDArray[np.int32]
Answer = TypeVar("Answer")

MAX_PIXELS: Final = 8_000_000
"""Scores are enlarged to the size of the image up to this; in a larger image the map of classes is enlarged."""
MAX_CLASSES: Final = 65_535
NO_CLASS: Final = MAX_CLASSES
"""In a uint16 map of classes: none of them."""
_BAND: Final = 1 << 21
"""Pixels that are counted at one time: numpy takes 16 bytes for each."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassMap:
    """ids: (h, w) int32, the class of each pixel, below 0 for none. scores: (h, w) float32, its probability, 0..1."""

    ids: Ids
    scores: Floats


@dataclass(frozen=True, kw_only=True, slots=True)
class FoundMask:
    """inside: (h, w) bool. class_id: its class. score: 0..1."""

    inside: Mask
    class_id: int
    score: float


@spec
class OneFile:
    """Base of segmenters whose network is one file with one of `suffixes`."""

    model: Weights
    """The network's file."""
    names: Names
    """Of class 0, 1, ...; '' is never a segment (a background)."""

    suffixes: ClassVar[tuple[str, ...]]

    def __post_init__(self) -> None:
        check_suffix("model", self.model, *self.suffixes)
        if not any(self.names):
            raise FieldError("names", f": expected a name for at least one class, got {self.names!r}")
        if len(self.names) > MAX_CLASSES:
            raise FieldError("names", f": expected at most {MAX_CLASSES} names, got {len(self.names)}")

    @property
    def labels(self) -> tuple[str, ...]:
        return labels_of(self.names)

    @property
    def weights(self) -> tuple[Weights, ...]:
        return (self.model,)


class NetworkModel(Generic[Answer]):
    """Segments of whole images from a network that may answer in another order.

    each: takes tiles and the sizes (height, width) to answer at, yields positions and answers. made: `class_segments`
    or `mask_segments`.
    """

    def __init__(
        self,
        each: Callable[[Sequence[Rgb], Sequence[tuple[int, int]]], Iterable[tuple[int, Answer]]],
        made: Callable[[Answer, View, Sequence[str], HasTag], Segments],
        names: Sequence[str],
        model: HasTag,
    ) -> None:
        self._each, self._made, self._names, self._model = each, made, names, model

    def __call__(self, views: Sequence[View]) -> list[Segments]:
        tiles = [whole(view).pixels for view in views]
        sizes = [fit(view.height, view.width) for view in views]
        found = {
            position: self._made(answer, views[position], self._names, self._model)
            for position, answer in self._each(tiles, sizes)
        }
        return [found[position] for position in range(len(views))]


def labels_of(names: Sequence[str]) -> tuple[str, ...]:
    """Labels that segments can have: each name once, without ''."""
    return tuple(dict.fromkeys(name for name in names if name))


def names_of(id2label: Mapping[int, str]) -> tuple[str, ...]:
    """The names of class 0, 1, ...; '' for a number that the mapping lacks."""
    return tuple(id2label.get(number, "") for number in range(max(id2label, default=-1) + 1))


def fit(height: int, width: int) -> tuple[int, int]:
    """Height and width at which classes compete: the image's own, or of its shape with at most MAX_PIXELS pixels."""
    scale = min(1.0, math.sqrt(MAX_PIXELS / (height * width)))
    return max(1, int(height * scale)), max(1, int(width * scale))


def winners(values: Floats, size: tuple[int, int], *, logits: bool) -> ClassMap:
    """The best class at each pixel of `size` (height, width) and its probability.

    values: (classes, h, w), logits or probabilities. One class at a time is enlarged, so memory does not grow with
    their number. The sum below a softmax is taken at the size of `values` and then enlarged: at the size of the image
    its exponentials would take longer than the network, and probabilities between pixels are a little lower so.
    Raises ImageError (`nan_scores`).
    """
    check_finite(values)
    best = resized(values[0], size).copy()
    ids = np.zeros(size, np.int32)
    for number, plane in enumerate(values[1:], 1):
        large = resized(plane, size)
        np.copyto(ids, number, where=large > best)
        np.maximum(best, large, out=best)
    if not logits:
        return ClassMap(ids=ids, scores=best)
    best -= resized(_log_sum(values), size)
    return ClassMap(ids=ids, scores=np.exp(best, out=best))


def _log_sum(logits: Floats) -> Floats:
    """The logarithm of the sum of exp(logit) over the classes, (h, w)."""
    top = logits.max(axis=0)
    total = np.zeros_like(top)
    for plane in logits:
        total += np.exp(plane - top)
    found: Floats = np.log(total) + top
    return found


def resized(plane: Floats, size: tuple[int, int]) -> Floats:
    """Resize (h, w) to `size` (height, width), bilinear."""
    if plane.shape == size:
        return plane
    return np.asarray(cv2.resize(plane, (size[1], size[0]), interpolation=cv2.INTER_LINEAR), np.float32)


def class_segments(found: ClassMap, view: View, names: Sequence[str], model: HasTag) -> Segments:
    """One segment for each class that wins a pixel and has a name; its score is the mean over its pixels."""
    ids, scores = np.where(found.ids < 0, NO_CLASS, found.ids).astype(np.uint16), found.scores
    if ids.shape != (view.height, view.width):
        size = (view.width, view.height)
        ids = np.asarray(cv2.resize(ids, size, interpolation=cv2.INTER_NEAREST_EXACT), np.uint16)
        scores = np.asarray(cv2.resize(scores, size, interpolation=cv2.INTER_NEAREST_EXACT), np.float32)
    total = _sums(ids, scores)
    made = [
        Segment(
            label=names[number], class_id=number, score=float(total[number] / area), rle=code, box=box, area=area,
            model=model.tag,
        )
        for number, code, area, box in rle.encode_map(ids)
        if number < len(names) and names[number]  # NO_CLASS has no name
    ]  # fmt: skip
    return Segments(image_id=view.image_id, height=view.height, width=view.width, segments=tuple(made))


def _sums(ids: NDArray[np.uint16], scores: Floats) -> NDArray[np.float64]:
    """(65536,) sums of the scores, clipped to 0..1, over the pixels of each class."""
    total = np.zeros(NO_CLASS + 1)
    rows = max(1, _BAND // ids.shape[1])
    for start in range(0, len(ids), rows):
        band = np.s_[start : start + rows]
        some = np.bincount(ids[band].ravel(), weights=scores[band].clip(0, 1).ravel())
        total[: len(some)] += some
    return total


def mask_segments(found: Sequence[FoundMask], view: View, names: Sequence[str], model: HasTag) -> Segments:
    """One segment for each mask that has a pixel and whose class has a name."""
    made = []
    for one in found:
        inside = one.inside
        if inside.shape != (view.height, view.width):
            size = (view.width, view.height)
            inside = cv2.resize(inside.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST_EXACT) > 0
        if inside.any() and 0 <= one.class_id < len(names) and names[one.class_id]:
            label = names[one.class_id]
            made.append(
                segment(
                    inside, x=0, y=0, view=view, label=label, score=min(1.0, one.score), model=model,
                    class_id=one.class_id,
                )
            )  # fmt: skip
    return Segments(image_id=view.image_id, height=view.height, width=view.width, segments=tuple(made))
