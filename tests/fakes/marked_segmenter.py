"""A segmenter that finds exactly what is drawn in one of two marker colours.

`plugins=[tests]` and `_target_: tests.fakes.marked_segmenter.Marked` put it into a run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.contracts import SegmentModel
from pipeline.image.view import Fit
from pipeline.models.weights import Weights
from pipeline.records import Device, Mask, Rgb, Segment, Segments, View
from pipeline.segment.shared.masks import segment, whole

LABELS = ("magenta", "cyan")


@dataclass(frozen=True, kw_only=True)
class Marked:
    """High red and blue with low green is `magenta`; high green and blue with low red is `cyan`."""

    tag: str = "marked"

    @property
    def view(self) -> Fit:
        return Fit(side=1 << 15, multiple=1)

    @property
    def labels(self) -> tuple[str, ...]:
        return LABELS

    @property
    def weights(self) -> tuple[Weights, ...]:
        return ()

    def load(self, device: Device, threads: int) -> SegmentModel:
        return lambda views: [self._found(view) for view in views]

    def _found(self, view: View) -> Segments:
        masks = marks(whole(view).pixels)
        found: Sequence[Segment] = [
            segment(mask, x=0, y=0, view=view, label=label, score=1.0, model=self, class_id=number)
            for number, (label, mask) in enumerate(zip(LABELS, masks, strict=True))
            if mask.any()
        ]
        return Segments(image_id=view.image_id, height=view.height, width=view.width, segments=tuple(found))


def marks(pixels: Rgb) -> tuple[Mask, Mask]:
    red, green, blue = np.moveaxis(pixels.astype(int), -1, 0)
    return (red > 180) & (green < 60) & (blue > 180), (red < 60) & (green > 180) & (blue > 180)
