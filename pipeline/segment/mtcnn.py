"""Where are the faces? MTCNN (Zhang et al. 2016, arXiv:1604.02878), step by step as facenet-pytorch 2.6.0 does it.

A second opinion of another kind than CenterFace: the privacy receipt (jobs.audit) asks it about published images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ConfigError
from pipeline.image.view import Fit
from pipeline.models.weights import Weights
from pipeline.records import Device, Rgb, Segment, Segments, View
from pipeline.segment.faces import Detections, ellipse, expanded
from pipeline.segment.nets.mtcnn import OUTPUTS, SIDES, Net, graph
from pipeline.segment.nets.torch_pickle import read_state_dict
from pipeline.segment.shared.fields import check_finite, check_number, check_whole, segment, whole
from pipeline.segment.shared.onnx_runner import Floats, Model

_NO_LIMIT: Final = 1 << 20
_CELL, _STRIDE = 12, 2  # what one answer of the first network has seen, and how far apart they are, in pixels
_AT_ONCE: Final = 512

Whole: TypeAlias = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Mtcnn:
    """One segment a face: an ellipse.

    pnet, rnet, onet: the weights. side: the longer side of what is searched, in pixels; 0 is full size. min_face: the
    smallest face that is looked for, in pixels of that. thresholds: of the three networks' probabilities. factor:
    between two steps of the image pyramid. expand: the mask reaches past each side of the box by (expand - 1) times its
    length.
    """

    pnet: Weights
    rnet: Weights
    onet: Weights
    side: int = 0
    min_face: int = 20
    thresholds: tuple[float, ...] = (0.6, 0.7, 0.7)
    factor: float = 0.709
    expand: float = 1.3

    def __post_init__(self) -> None:
        for key in ("pnet", "rnet", "onet"):
            value = getattr(self, key)
            if not isinstance(value, Weights) or not value.state_dict:
                raise ConfigError(f"segment.mtcnn.{key}: expected weights with state_dict: true, got {value!r}")
        check_whole("mtcnn.side", self.side, 0, _NO_LIMIT)
        check_whole("mtcnn.min_face", self.min_face, _CELL, _NO_LIMIT)
        if not isinstance(self.thresholds, Sequence) or len(self.thresholds) != 3:
            raise ConfigError(f"segment.mtcnn.thresholds: expected three numbers, got {self.thresholds!r}")
        object.__setattr__(self, "thresholds", tuple(self.thresholds))
        for threshold in self.thresholds:
            check_number("mtcnn.thresholds", threshold, 0.01, 1)
        check_number("mtcnn.factor", self.factor, 0.1, 0.95)
        check_number("mtcnn.expand", self.expand, 1, 3)

    @property
    def view(self) -> Fit:
        return Fit(side=self.side or _NO_LIMIT, multiple=1)

    @property
    def labels(self) -> tuple[str, ...]:
        return ("face",)

    @property
    def weights(self) -> tuple[Weights, ...]:
        return (self.pnet, self.rnet, self.onet)

    def load(self, device: Device, threads: int) -> MtcnnModel:
        nets: tuple[tuple[Net, Weights], ...] = (("pnet", self.pnet), ("rnet", self.rnet), ("onet", self.onet))
        made = [Model(graph(net, read_state_dict(w.fetch())), OUTPUTS, device, threads) for net, w in nets]
        return MtcnnModel(self, *made)


class MtcnnModel:
    def __init__(self, spec: Mtcnn, pnet: Model, rnet: Model, onet: Model) -> None:
        self._spec, self._pnet, self._rnet, self._onet = spec, pnet, rnet, onet

    def __call__(self, views: Sequence[View]) -> list[Segments]:
        return [
            Segments(image_id=view.image_id, height=view.height, width=view.width, segments=self._segments(view))
            for view in views
        ]

    def _segments(self, view: View) -> tuple[Segment, ...]:
        tile = whole(view).pixels
        boxes = self.detect(tile)
        boxes[:, :4] *= np.tile(np.array([view.width / tile.shape[1], view.height / tile.shape[0]], np.float32), 2)
        made = []
        for left, top, right, bottom, score in boxes.tolist():
            x, y, width, height = expanded(left, top, right, bottom, self._spec.expand)
            mask = ellipse(height, width)
            face = segment(mask, x=x, y=y, view=view, label="face", score=score, model=self._spec.onet)
            if face.area:
                made.append(face)
        return tuple(made)

    def detect(self, rgb: Rgb) -> Detections:
        """Boxes in pixels of `rgb`, best first; they may reach past it. Raises ImageError (`nan_scores`)."""
        picture = Sums(rgb)
        boxes = square(self._propose(picture))
        boxes, offsets = self._judge(self._rnet, SIDES["rnet"], self._spec.thresholds[1], boxes, picture)
        kept = suppress(boxes, 0.7)
        boxes = square(moved(boxes[kept], offsets[kept]))
        boxes, offsets = self._judge(self._onet, SIDES["onet"], self._spec.thresholds[2], boxes, picture)
        boxes = moved(boxes, offsets)
        return boxes[suppress(boxes, 0.7, inner=True)]

    def _propose(self, picture: Sums) -> Detections:
        """The first network, over a pyramid of sizes."""
        scale = _CELL / self._spec.min_face
        shorter = min(picture.height, picture.width) * scale
        found, moves = [np.empty((0, 5), np.float32)], [np.empty((0, 4), np.float32)]
        while shorter >= _CELL:
            small = picture.resized(int(picture.height * scale + 1), int(picture.width * scale + 1))
            offsets, probability = self._ask(self._pnet, small[None])
            boxes, off = proposals(offsets[0], probability[0, 1], scale, self._spec.thresholds[0])
            kept = suppress(boxes, 0.5)
            found.append(boxes[kept])
            moves.append(off[kept])
            scale *= self._spec.factor
            shorter *= self._spec.factor
        boxes, off = np.concatenate(found), np.concatenate(moves)
        kept = suppress(boxes, 0.7)
        boxes, off = boxes[kept], off[kept]
        sizes = np.tile(boxes[:, 2:4] - boxes[:, :2], 2)
        return np.concatenate([boxes[:, :4] + off * sizes, boxes[:, 4:]], axis=1)

    def _judge(
        self, net: Model, side: int, threshold: float, boxes: Detections, picture: Sums
    ) -> tuple[Detections, Floats]:
        """The second and the third network: boxes that pass, with their new score, and how far off they are."""
        corners = np.trunc(boxes[:, :4]).astype(np.int64)
        corners[:, :2] = np.maximum(corners[:, :2], 1) - 1
        corners[:, 2:] = np.minimum(corners[:, 2:], [picture.width, picture.height])
        inside = (corners[:, 2:] > corners[:, :2]).all(axis=1)
        boxes, corners = boxes[inside], corners[inside]
        offsets, score = [np.empty((0, 4), np.float32)], [np.empty(0, np.float32)]
        for start in range(0, len(corners), _AT_ONCE):
            crops = [picture.resized(side, side, *corner) for corner in corners[start : start + _AT_ONCE].tolist()]
            some, probability = self._ask(net, np.stack(crops))
            offsets.append(some)
            score.append(probability[:, 1])
        scores = np.concatenate(score)
        passed = scores > threshold
        return np.concatenate([boxes[passed, :4], scores[passed, None]], axis=1), np.concatenate(offsets)[passed]

    def _ask(self, net: Model, pixels: Floats) -> tuple[Floats, Floats]:
        offsets, probabilities = net((pixels - np.float32(127.5)) * np.float32(1 / 128))
        check_finite(offsets, probabilities)
        return offsets, probabilities


class Sums:
    """A picture as sums over all pixels above and left of each: any box is averaged with four look-ups."""

    def __init__(self, rgb: Rgb) -> None:
        self.height, self.width = rgb.shape[:2]
        self._sums = np.zeros((3, self.height + 1, self.width + 1), np.int64)
        np.cumsum(rgb.transpose(2, 0, 1), axis=1, out=self._sums[:, 1:, 1:], dtype=np.int64)
        np.cumsum(self._sums, axis=2, out=self._sums)

    def resized(
        self, height: int, width: int, left: int = 0, top: int = 0, right: int | None = None, bottom: int | None = None
    ) -> Floats:
        """A box at another size, (3, height, width): each pixel the mean of all that it touches, as torch's
        `interpolate(mode="area")`."""
        y0, y1 = _bins(top, self.height if bottom is None else bottom, height)
        x0, x1 = _bins(left, self.width if right is None else right, width)
        lower, upper = self._sums[:, y1], self._sums[:, y0]
        total = lower[:, :, x1] - lower[:, :, x0] - upper[:, :, x1] + upper[:, :, x0]
        mean: Floats = (total / ((y1 - y0)[:, None] * (x1 - x0))).astype(np.float32)
        return mean


def _bins(start: int, stop: int, count: int) -> tuple[Whole, Whole]:
    """First pixel, and the one after the last, of each of `count` bins over start..stop; they may overlap."""
    position, size = np.arange(count), stop - start
    return start + position * size // count, start - (-(position + 1) * size // count)


def proposals(offsets: Floats, probability: Floats, scale: float, threshold: float) -> tuple[Detections, Floats]:
    """(n, 5) boxes in full-size pixels and (n, 4) their offsets. offsets: (4, h, w); probability: (h, w)."""
    rows, columns = np.nonzero(probability >= threshold)
    corner = np.stack([columns, rows], axis=1).astype(np.float32) * _STRIDE
    first = np.floor((corner + 1) / np.float32(scale))
    last = np.floor((corner + _CELL) / np.float32(scale))
    return np.concatenate([first, last, probability[rows, columns, None]], axis=1), offsets[:, rows, columns].T


def moved(boxes: Detections, offsets: Floats) -> Detections:
    """Each side by its share of the box's size, the last pixel counted in."""
    sizes = np.tile(boxes[:, 2:4] - boxes[:, :2] + 1, 2)
    return np.concatenate([boxes[:, :4] + offsets * sizes, boxes[:, 4:]], axis=1)


def square(boxes: Detections) -> Detections:
    """About the same centre, with the longer side."""
    sizes = boxes[:, 2:4] - boxes[:, :2]
    longer = sizes.max(axis=1, keepdims=True)
    corner = boxes[:, :2] + sizes * np.float32(0.5) - longer * np.float32(0.5)
    return np.concatenate([corner, corner + longer, boxes[:, 4:]], axis=1)


def suppress(boxes: Detections, overlap: float, *, inner: bool = False) -> Whole:
    """Which boxes stay, best first: none has more than `overlap` with a better one. That is intersection over union;
    inner: intersection over the smaller box, the last pixel counted in."""
    sizes = boxes[:, 2:4] - boxes[:, :2] + inner
    areas = sizes[:, 0] * sizes[:, 1]
    left = np.argsort(-boxes[:, 4], kind="stable")
    kept = []
    while len(left):
        best, rest = left[0], left[1:]
        kept.append(best)
        corner = np.maximum(boxes[best, :2], boxes[rest, :2])
        sides = (np.minimum(boxes[best, 2:4], boxes[rest, 2:4]) - corner + inner).clip(0)
        both = sides[:, 0] * sides[:, 1]
        whole_area = np.minimum(areas[best], areas[rest]) if inner else areas[best] + areas[rest] - both
        left = rest[both <= overlap * whole_area]
    return np.array(kept, np.int64)
