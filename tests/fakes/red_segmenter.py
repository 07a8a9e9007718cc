"""A segmenter without a model: red pixels are a face.

Importing it arms the crash point of `crash_points.py`, so that every process of a run, Ray's workers included, can be
made to die there.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from pipeline.image.view import Tiles
from pipeline.models.weights import Weights
from pipeline.records import Device, Segments, View
from pipeline.segment.faces import Faces
from pipeline.segment.shared.masks import segment, whole
from pipeline.spec import spec
from tests.fakes import crash_points

GROWN = "SEGFILL_TEST_GROWN"
"""Pixels by which every mask grows, so that two runs of one identity write different bytes."""

crash_points.arm()


@spec
class Red(Faces):
    @property
    def view(self) -> Tiles:  # type: ignore[override]
        return Tiles(side=10_000, overlap=0)

    @property
    def weights(self) -> tuple[Weights, ...]:
        return ()

    def load(self, device: Device, threads: int) -> _Red:  # type: ignore[override]
        return _Red(self)


@dataclass(frozen=True)
class _Red:
    cold: Red

    def __call__(self, views: Sequence[View]) -> list[Segments]:
        return [self._one(view) for view in views]

    def _one(self, view: View) -> Segments:
        pixels = whole(view).pixels.astype(int)
        red = (pixels[..., 0] - pixels[..., 1:].max(axis=2) > 100).astype(np.uint8)
        mask = cv2.dilate(red, np.ones((3, 3), np.uint8), iterations=int(os.environ.get(GROWN, "0"))) > 0
        found = (segment(mask, x=0, y=0, view=view, label="face", score=0.9, model=self.cold.model),)
        return Segments(
            image_id=view.image_id, height=view.height, width=view.width, segments=found if mask.any() else ()
        )
