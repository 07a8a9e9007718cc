"""Stages that take a known time: `plugins=[tests]` and `_target_: tests.fakes.slow_stages.NAME` put one into a run."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.fill.shared.crops import PerCrop
from pipeline.fill.solid import Solid
from pipeline.models.weights import Weights
from pipeline.records import Crop, Device, Rgb, Segments, View
from pipeline.segment.faces import Faces
from pipeline.segment.shared.masks import segment
from pipeline.spec import spec


@spec
class SlowFaces(Faces):
    """Finds a square in every image, without a model."""

    seconds: float = 0.0
    """Time for each image."""
    log: str = ""
    """A file to which each call appends its number of images; empty: none."""

    @property
    def weights(self) -> tuple[Weights, ...]:
        return ()

    def load(self, device: Device, threads: int) -> _SlowFaces:  # type: ignore[override]
        return _SlowFaces(self)


@dataclass(frozen=True)
class _SlowFaces:
    cold: SlowFaces

    def __call__(self, views: Sequence[View]) -> list[Segments]:
        time.sleep(self.cold.seconds * len(views))
        if self.cold.log:
            with open(self.cold.log, "a") as log:
                log.write(f"{len(views)}\n")
        square = np.ones((8, 8), np.bool_)
        return [
            Segments(
                image_id=view.image_id,
                height=view.height,
                width=view.width,
                segments=(
                    segment(square, x=4, y=4, view=view, label="face", score=1.0, model=self.cold.model, class_id=0),
                ),
            )
            for view in views
        ]


@spec
class SlowFill(Solid):
    seconds: float = 0.0
    """Time for each crop."""

    def load(self, device: Device, threads: int) -> PerCrop:
        def paint(crop: Crop) -> Rgb:
            time.sleep(self.seconds)
            return self._paint(crop)

        return PerCrop(paint)
