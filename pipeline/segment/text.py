"""Where is text? PP-OCRv6's detector (differentiable binarisation, Liao et al. 2020, arXiv:1911.08947).

Sizes, thresholds and the way from the probability map to quads are those of the package `rapidocr` 3.10.0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import cv2
import numpy as np
import pyclipper
from numpy.typing import NDArray

from pipeline.image.view import AtLeast
from pipeline.models.weights import Weights
from pipeline.records import Device, Rgb, Segments, View
from pipeline.segment.shared.fields import check_finite, check_number, check_onnx, check_whole, segment, whole
from pipeline.segment.shared.onnx_runner import Floats, Model

Quad: TypeAlias = NDArray[np.float32]
"""(4, 2) corners as x, y, going round."""

_OUTPUTS: Final = ("fetch_name_0",)
_MIN_SIDE: Final = 3.0  # pixels of the map: what is thinner is no text
_MIN_RECT: Final = 3  # full-size pixels


@dataclass(frozen=True, kw_only=True)
class Text:
    """One segment a text region, about one a line: a quad that holds the letters.

    model: the weights. side: smaller images are enlarged until their shorter side has so many pixels. longest: larger
    ones are shrunk until their longer side has. pixel: from which probability on a pixel is text. score: from which
    mean probability on a region is. unclip: how far the shrunken regions that the network draws are grown back.
    most: regions of one image at most. batch: tiles of one size in one call; more than 1 pays on a GPU.
    """

    model: Weights
    side: int = 736
    longest: int = 2000
    pixel: float = 0.3
    score: float = 0.5
    unclip: float = 1.6
    max_detections: int = 1000
    batch: int = 1

    def __post_init__(self) -> None:
        check_onnx("text.model", self.model)
        check_whole("text.side", self.side, 32, 1 << 14)
        check_whole("text.longest", self.longest, self.side, 1 << 16)
        check_number("text.pixel", self.pixel, 0.01, 1)
        check_number("text.score", self.score, 0, 1)
        check_number("text.unclip", self.unclip, 0, 10)
        check_whole("text.max_detections", self.max_detections, 1, 1_000_000)
        check_whole("text.batch", self.batch, 1, 1024)

    @property
    def view(self) -> AtLeast:
        return AtLeast(side=self.side, longest=self.longest)

    @property
    def labels(self) -> tuple[str, ...]:
        return ("text",)

    @property
    def weights(self) -> tuple[Weights, ...]:
        return (self.model,)

    def load(self, device: Device, threads: int) -> TextModel:
        return TextModel(self, Model(self.model.fetch(), _OUTPUTS, device, threads))


class TextModel:
    def __init__(self, spec: Text, model: Model) -> None:
        self._spec, self._model = spec, model

    def __call__(self, views: Sequence[View]) -> list[Segments]:
        tiles = [whole(view).pixels for view in views]
        found: list[list[tuple[Quad, float]]] = [[] for _ in views]
        for position, (probability,) in self._model.each(tiles, _prepare, self._spec.batch):
            check_finite(probability)
            found[position] = self._quads(probability[0], views[position])
        return [self._segments(view, quads) for view, quads in zip(views, found, strict=True)]

    def _quads(self, probability: Floats, view: View) -> list[tuple[Quad, float]]:
        """Quads in full-size pixels with their scores, from above to below."""
        binary = cv2.dilate((probability > self._spec.pixel).astype(np.uint8), np.ones((2, 2), np.uint8))
        contours, _ = cv2.findContours(binary, cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)
        height, width = probability.shape
        to_full = np.array([view.width / width, view.height / height], np.float32)
        last = np.array([view.width - 1, view.height - 1], np.float32)
        quads = []
        for contour in contours[: self._spec.max_detections]:
            core, thin = smallest_rectangle(contour)
            if thin < _MIN_SIDE or (score := mean_inside(probability, core)) < self._spec.score:
                continue
            quad, thin = smallest_rectangle(grown(core, self._spec.unclip))
            if thin < _MIN_SIDE + 2:
                continue
            quad = (quad * to_full).round().clip(0, last)
            if min(int(np.linalg.norm(quad[0] - quad[1])), int(np.linalg.norm(quad[0] - quad[3]))) > _MIN_RECT:
                quads.append((quad, score))
        return sorted(quads, key=lambda found: (float(found[0][:, 1].min()), float(found[0][:, 0].min())))

    def _segments(self, view: View, quads: Sequence[tuple[Quad, float]]) -> Segments:
        made = []
        for quad, score in quads:
            corners = quad.astype(np.int32)
            x, y, width, height = cv2.boundingRect(corners)
            crop = np.zeros((height, width), np.uint8)
            cv2.fillPoly(crop, [corners - np.array([x, y], np.int32)], 1)
            made.append(segment(crop > 0, x=x, y=y, view=view, label="text", score=score, model=self._spec.model))
        return Segments(image_id=view.image_id, height=view.height, width=view.width, segments=tuple(made))


def _prepare(tile: Rgb) -> Floats:
    """-1..1, and blue first: PaddleOCR trains on OpenCV's order."""
    return tile[:, :, ::-1].transpose(2, 0, 1).astype(np.float32) / np.float32(127.5) - np.float32(1)


def smallest_rectangle(points: cv2.typing.MatLike) -> tuple[Quad, float]:
    """The turned rectangle of least area around points, and its shorter side."""
    rectangle = cv2.minAreaRect(points)
    return cv2.boxPoints(rectangle).astype(np.float32), min(rectangle[1])


def mean_inside(probability: Floats, quad: Quad) -> float:
    """The mean of a map (h, w) inside a quad, whose corners are cut to whole pixels from its box's corner on."""
    height, width = probability.shape
    bounds = np.array([width - 1, height - 1])
    low = np.floor(quad.min(axis=0)).clip(0, bounds).astype(int)
    high = np.ceil(quad.max(axis=0)).clip(0, bounds).astype(int)
    inside = np.zeros((high[1] - low[1] + 1, high[0] - low[0] + 1), np.uint8)
    cv2.fillPoly(inside, [(quad - low).astype(np.int32)], 1)
    return float(cv2.mean(probability[low[1] : high[1] + 1, low[0] : high[0] + 1], inside)[0])


def grown(quad: Quad, ratio: float) -> Quad:
    """The outline of a quad after it grew by area * ratio / perimeter with round corners: (n, 2)."""
    following = np.roll(quad, -1, axis=0)
    area = abs(float(np.sum(quad[:, 0] * following[:, 1] - quad[:, 1] * following[:, 0]))) / 2
    perimeter = float(np.linalg.norm(following - quad, axis=1).sum())
    offset = pyclipper.PyclipperOffset()
    offset.AddPath(quad, pyclipper.JT_ROUND, pyclipper.ET_CLOSEDPOLYGON)
    outlines = offset.Execute(area * ratio / perimeter)
    # Clipper works on whole pixels and may find nothing left of a sliver: then the quad stays as it is.
    return np.concatenate([np.array(o, np.float32) for o in outlines]) if outlines else quad
