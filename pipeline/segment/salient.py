"""The salient object by U2-Net-p (Qin et al. 2020, arXiv:2005.09007), read as the package `rembg` does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Final

import numpy as np
from PIL import Image
from pydantic import Field

from pipeline.image.view import Square
from pipeline.models.weights import Weights
from pipeline.records import Device, Floats, Rgb, Segment, Segments, View
from pipeline.segment.shared.fields import Batch, check_suffix
from pipeline.segment.shared.masks import check_finite, segment, whole
from pipeline.segment.shared.onnx_runner import Model
from pipeline.spec import Share, spec

_OUTPUTS: Final = ("1959",)  # the fused map; the others are side outputs
_SIDE: Final = 320
_MEAN: Final = np.array([0.485, 0.456, 0.406], np.float32)
_STD: Final = np.array([0.229, 0.224, 0.225], np.float32)


@spec
class Salient:
    """The salient object as one segment, or none. Its score is the mean of the soft map inside."""

    model: Weights
    """The network, an ONNX file."""
    threshold: Annotated[float, Field(ge=0.01, le=1)] = 0.5
    """Minimum value of the soft map, stretched to 0..1, of a pixel inside."""
    min_peak: Share = 0.0
    """Minimum raw probability at the map's peak; below it there is no segment. 0 is rembg's rule, which stretches every
    map and so finds an object in any image. Measured on scikit-image's photographs: an object 0.97 or more; the moon
    0.78; gravel, grass, stars and handwriting at most 0.43; a grey image 0.002. 0.5 separates them."""
    batch: Batch = 1
    """Images in one call; more than 1 pays on a GPU only."""

    def __post_init__(self) -> None:
        check_suffix("model", self.model, ".onnx")

    @property
    def view(self) -> Square:
        return Square(side=_SIDE, resample="lanczos")

    @property
    def labels(self) -> tuple[str, ...]:
        return ("salient",)

    @property
    def weights(self) -> tuple[Weights, ...]:
        return (self.model,)

    def load(self, device: Device, threads: int) -> SalientModel:
        return SalientModel(self, Model(self.model.fetch(), _OUTPUTS, device, threads))


class SalientModel:
    def __init__(self, spec: Salient, model: Model) -> None:
        self._spec, self._model = spec, model

    def __call__(self, views: Sequence[View]) -> list[Segments]:
        tiles = [whole(view).pixels for view in views]
        found: list[tuple[Segment, ...]] = [() for _ in views]
        for position, (probability,) in self._model.each(tiles, _prepare, self._spec.batch):
            check_finite(probability)
            found[position] = self._segments(views[position], probability[0])
        return [
            Segments(image_id=view.image_id, height=view.height, width=view.width, segments=segments)
            for view, segments in zip(views, found, strict=True)
        ]

    def _segments(self, view: View, probability: Floats) -> tuple[Segment, ...]:
        low, high = float(probability.min()), float(probability.max())
        if high <= low or high < self._spec.min_peak:
            return ()
        small = Image.fromarray(((probability - low) / (high - low) * 255).astype(np.uint8))
        soft = np.asarray(small.resize((view.width, view.height), Image.Resampling.LANCZOS))
        inside = soft >= self._spec.threshold * 255
        if not inside.any():
            return ()
        score = float(soft[inside].mean()) / 255
        return (segment(inside, x=0, y=0, view=view, label="salient", score=score, model=self._spec.model),)


def _prepare(tile: Rgb) -> Floats:
    """Scale by the brightest value of the image, as in U2-Net's training; a black image stays black."""
    scaled = tile.astype(np.float32) / np.float32(max(1, tile.max()))
    return ((scaled - _MEAN) / _STD).transpose(2, 0, 1)
