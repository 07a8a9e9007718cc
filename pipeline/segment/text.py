"""Text by PP-OCRv6's detector (differentiable binarisation, Liao et al. 2020, arXiv:1911.08947).

Sizes, thresholds and the steps from the probability map to quads are those of the package `rapidocr` 3.10.0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Final, TypeAlias

import cv2
import numpy as np
import pyclipper
from pydantic import Field

from pipeline.image.view import AtLeast
from pipeline.models.weights import Weights
from pipeline.records import Device, Floats, Rgb, Segments, View
from pipeline.segment.shared.fields import Batch, Side, check_suffix
from pipeline.segment.shared.masks import check_finite, segment, whole
from pipeline.segment.shared.onnx_runner import Model
from pipeline.spec import FieldError, Share, spec

Quad: TypeAlias = Floats
"""(4, 2): x, y of the corners, in order around the quad."""

_OUTPUTS: Final = ("fetch_name_0",)
_MIN_SIDE: Final = 3.0  # pixels of the map; thinner regions are not text
_MIN_RECT: Final = 3  # full-size pixels


@spec
class Text:
    """One segment per text region, about one per line of text: a quad around its letters."""

    model: Weights
    """The network, an ONNX file."""
    side: Side = 736
    """Images whose shorter side has fewer pixels are enlarged to it."""
    longest: Annotated[int, Field(ge=32, le=1 << 16)] = 2000
    """Images whose longer side has more pixels are shrunk to it."""
    pixel: Annotated[float, Field(ge=0.01, le=1)] = 0.3
    """Minimum probability of a text pixel."""
    score: Share = 0.5
    """Minimum mean probability of a region."""
    unclip: Annotated[float, Field(ge=0, le=10)] = 1.6
    """Growth of the regions, which the network draws smaller than the text: by area * unclip / perimeter."""
    max_detections: Annotated[int, Field(ge=1, le=1_000_000)] = 1000
    """Maximum number of regions in an image."""
    batch: Batch = 1
    """Tiles of one size in one call; more than 1 pays on a GPU only."""

    def __post_init__(self) -> None:
        check_suffix("model", self.model, ".onnx")
        if self.longest < self.side:
            raise FieldError("longest", f": expected at least side={self.side}, got {self.longest}")

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
        """Quads in full-size pixels with their scores, from top to bottom."""
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
    """-1..1, BGR: PaddleOCR trains on OpenCV's order."""
    return tile[:, :, ::-1].transpose(2, 0, 1).astype(np.float32) / np.float32(127.5) - np.float32(1)


def smallest_rectangle(points: cv2.typing.MatLike) -> tuple[Quad, float]:
    """The rotated rectangle of least area around points, and its shorter side."""
    rectangle = cv2.minAreaRect(points)
    return cv2.boxPoints(rectangle).astype(np.float32), min(rectangle[1])


def mean_inside(probability: Floats, quad: Quad) -> float:
    """Mean of a map (h, w) inside a quad, whose corners are truncated to whole pixels relative to its box."""
    height, width = probability.shape
    bounds = np.array([width - 1, height - 1])
    low = np.floor(quad.min(axis=0)).clip(0, bounds).astype(int)
    high = np.ceil(quad.max(axis=0)).clip(0, bounds).astype(int)
    inside = np.zeros((high[1] - low[1] + 1, high[0] - low[0] + 1), np.uint8)
    cv2.fillPoly(inside, [(quad - low).astype(np.int32)], 1)
    return float(cv2.mean(probability[low[1] : high[1] + 1, low[0] : high[0] + 1], inside)[0])


def grown(quad: Quad, ratio: float) -> Quad:
    """Outline (n, 2) of a quad grown by area * ratio / perimeter with round corners."""
    following = np.roll(quad, -1, axis=0)
    area = abs(float(np.sum(quad[:, 0] * following[:, 1] - quad[:, 1] * following[:, 0]))) / 2
    perimeter = float(np.linalg.norm(following - quad, axis=1).sum())
    offset = pyclipper.PyclipperOffset()
    offset.AddPath(quad, pyclipper.JT_ROUND, pyclipper.ET_CLOSEDPOLYGON)
    outlines = offset.Execute(area * ratio / perimeter)
    # Clipper works in whole pixels and may lose a sliver altogether; then the quad stays as it is.
    return np.concatenate([np.array(o, np.float32) for o in outlines]) if outlines else quad
