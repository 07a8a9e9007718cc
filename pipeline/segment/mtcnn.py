"""Faces by MTCNN (Zhang et al. 2016, arXiv:1604.02878), step by step as in facenet-pytorch 2.6.0.

A second opinion of another kind than CenterFace: the audit runs it on published images.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Final, TypeAlias

import numpy as np
import onnx
from numpy.typing import NDArray
from pydantic import Field

from pipeline.image.view import Fit
from pipeline.models.weights import Weights
from pipeline.records import Device, Floats, Rgb, Segment, Segments, View
from pipeline.segment.faces import face_segments
from pipeline.segment.shared.boxes import Detections, suppress
from pipeline.segment.shared.fields import NO_LIMIT, check_suffix
from pipeline.segment.shared.masks import check_finite, whole
from pipeline.segment.shared.onnx_runner import Model
from pipeline.spec import spec

NETS: Final = ("pnet", "rnet", "onet")
OUTPUTS: Final = ("offsets", "probabilities")
"""(n, 4, ...): offset of each side of the box, as a share of its size. (n, 2, ...): no face, face."""
RNET_SIDE: Final = 24
ONET_SIDE: Final = 48
"""Height and width of the second and third network's input, in pixels."""
_CELL, _STRIDE = 12, 2  # receptive field and stride of the first network's answers, in pixels
_AT_ONCE: Final = 512
"""Boxes in one call of the second or third network."""

Whole: TypeAlias = NDArray[np.int64]
_Threshold = Annotated[float, Field(ge=0.01, le=1)]


@spec
class Mtcnn:
    """One segment per face (MTCNN): an ellipse."""

    pnet: Weights
    """The first network, an ONNX file: proposes boxes over an image pyramid."""
    rnet: Weights
    """The second network, an ONNX file: drops and moves boxes."""
    onet: Weights
    """The third network, an ONNX file: drops and moves boxes again."""
    side: Annotated[int, Field(ge=0, le=NO_LIMIT)] = 0
    """Longer side of the searched image, in pixels; larger images are shrunk. 0: full size."""
    min_face: Annotated[int, Field(ge=_CELL, le=NO_LIMIT)] = 20
    """Smallest face to search for, in pixels of the searched image."""
    thresholds: tuple[_Threshold, _Threshold, _Threshold] = (0.6, 0.7, 0.7)
    """Minimum probability of a face in each of the three networks."""
    factor: Annotated[float, Field(ge=0.1, le=0.95)] = 0.709
    """Ratio of two neighbouring sizes of the image pyramid."""
    expand: Annotated[float, Field(ge=1, le=3)] = 1.3
    """The mask reaches past each side of the box by (expand - 1) times its length."""

    def __post_init__(self) -> None:
        for key in NETS:
            check_suffix(key, getattr(self, key), ".onnx")

    @property
    def view(self) -> Fit:
        return Fit(side=self.side or NO_LIMIT, multiple=1)

    @property
    def labels(self) -> tuple[str, ...]:
        return ("face",)

    @property
    def weights(self) -> tuple[Weights, ...]:
        return (self.pnet, self.rnet, self.onet)

    def load(self, device: Device, threads: int) -> MtcnnModel:
        # As graphs, whose input sizes stay as they are: the dense layers fit one size.
        return MtcnnModel(self, *(Model(onnx.load(w.fetch()), OUTPUTS, device, threads) for w in self.weights))


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
        return face_segments(boxes, view, expand=self._spec.expand, shape="ellipse", model=self._spec.onet)

    def detect(self, rgb: Rgb) -> Detections:
        """Boxes in pixels of `rgb`, best first; they may reach past it. Raises ImageError (`nan_scores`)."""
        picture = Sums(rgb)
        boxes = square(self._propose(picture))
        boxes, offsets = self._refine(self._rnet, RNET_SIDE, self._spec.thresholds[1], boxes, picture)
        kept = suppress(boxes, 0.7)
        boxes = square(moved(boxes[kept], offsets[kept]))
        boxes, offsets = self._refine(self._onet, ONET_SIDE, self._spec.thresholds[2], boxes, picture)
        boxes = moved(boxes, offsets)
        return boxes[suppress(boxes, 0.7, inner=True)]

    def _propose(self, picture: Sums) -> Detections:
        """Boxes of the first network, over an image pyramid."""
        scale = _CELL / self._spec.min_face
        shorter = min(picture.height, picture.width) * scale
        found, moves = [np.empty((0, 5), np.float32)], [np.empty((0, 4), np.float32)]
        while shorter >= _CELL:
            small = picture.resized(int(picture.height * scale + 1), int(picture.width * scale + 1))
            offsets, probability = self._run(self._pnet, small[None])
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

    def _refine(
        self, net: Model, side: int, threshold: float, boxes: Detections, picture: Sums
    ) -> tuple[Detections, Floats]:
        """Boxes that pass the second or third network, with their new scores, and their offsets (n, 4)."""
        corners = np.trunc(boxes[:, :4]).astype(np.int64)
        corners[:, :2] = np.maximum(corners[:, :2], 1) - 1
        corners[:, 2:] = np.minimum(corners[:, 2:], [picture.width, picture.height])
        inside = (corners[:, 2:] > corners[:, :2]).all(axis=1)
        boxes, corners = boxes[inside], corners[inside]
        offsets, score = [np.empty((0, 4), np.float32)], [np.empty(0, np.float32)]
        for start in range(0, len(corners), _AT_ONCE):
            crops = [picture.resized(side, side, *corner) for corner in corners[start : start + _AT_ONCE].tolist()]
            some, probability = self._run(net, np.stack(crops))
            offsets.append(some)
            score.append(probability[:, 1])
        scores = np.concatenate(score)
        passed = scores > threshold
        return np.concatenate([boxes[passed, :4], scores[passed, None]], axis=1), np.concatenate(offsets)[passed]

    def _run(self, net: Model, pixels: Floats) -> tuple[Floats, Floats]:
        offsets, probabilities = net((pixels - np.float32(127.5)) * np.float32(1 / 128))
        check_finite(offsets, probabilities)
        return offsets, probabilities


class Sums:
    """Summed-area table of an image: any box is averaged with four look-ups."""

    def __init__(self, rgb: Rgb) -> None:
        self.height, self.width = rgb.shape[:2]
        self._sums = np.zeros((3, self.height + 1, self.width + 1), np.int64)
        np.cumsum(rgb.transpose(2, 0, 1), axis=1, out=self._sums[:, 1:, 1:], dtype=np.int64)
        np.cumsum(self._sums, axis=2, out=self._sums)

    def resized(
        self, height: int, width: int, left: int = 0, top: int = 0, right: int | None = None, bottom: int | None = None
    ) -> Floats:
        """A box resized to (3, height, width): each pixel is the mean of all pixels that it touches, as with torch's
        `interpolate(mode="area")`."""
        y0, y1 = _bins(top, self.height if bottom is None else bottom, height)
        x0, x1 = _bins(left, self.width if right is None else right, width)
        lower, upper = self._sums[:, y1], self._sums[:, y0]
        total = lower[:, :, x1] - lower[:, :, x0] - upper[:, :, x1] + upper[:, :, x0]
        mean: Floats = (total / ((y1 - y0)[:, None] * (x1 - x0))).astype(np.float32)
        return mean


def _bins(start: int, stop: int, count: int) -> tuple[Whole, Whole]:
    """First pixel and end of each of `count` bins over start..stop; bins may overlap."""
    position, size = np.arange(count), stop - start
    return start + position * size // count, start - (-(position + 1) * size // count)


def proposals(offsets: Floats, probability: Floats, scale: float, threshold: float) -> tuple[Detections, Floats]:
    """Boxes (n, 5) in full-size pixels and their offsets (n, 4). offsets: (4, h, w); probability: (h, w)."""
    rows, columns = np.nonzero(probability >= threshold)
    corner = np.stack([columns, rows], axis=1).astype(np.float32) * _STRIDE
    first = np.floor((corner + 1) / np.float32(scale))
    last = np.floor((corner + _CELL) / np.float32(scale))
    return np.concatenate([first, last, probability[rows, columns, None]], axis=1), offsets[:, rows, columns].T


def moved(boxes: Detections, offsets: Floats) -> Detections:
    """Move each side by its offset, a share of the box's size with the last pixel counted in."""
    sizes = np.tile(boxes[:, 2:4] - boxes[:, :2] + 1, 2)
    return np.concatenate([boxes[:, :4] + offsets * sizes, boxes[:, 4:]], axis=1)


def square(boxes: Detections) -> Detections:
    """Squares of the longer side around the same centres."""
    sizes = boxes[:, 2:4] - boxes[:, :2]
    longer = sizes.max(axis=1, keepdims=True)
    corner = boxes[:, :2] + sizes * np.float32(0.5) - longer * np.float32(0.5)
    return np.concatenate([corner, corner + longer, boxes[:, 4:]], axis=1)
