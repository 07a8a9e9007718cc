"""Warm start: a torch network compiles and searches for algorithms on black images when it is loaded."""

from __future__ import annotations

from abc import abstractmethod
from contextlib import suppress
from dataclasses import field

import numpy as np

from pipeline.contracts import SegmentModel
from pipeline.errors import ImageError
from pipeline.image.view import ViewSpec
from pipeline.models.torch_options import TorchOptions
from pipeline.records import Device, Tile, View
from pipeline.spec import spec


@spec
class WarmStart:
    """Base of segmenters on torch: `load` is `load_network` and then the black images of `run.warm_up`."""

    run: TorchOptions = field(default_factory=TorchOptions)
    """How torch computes."""

    @property
    @abstractmethod
    def view(self) -> ViewSpec: ...

    @abstractmethod
    def load_network(self, device: Device, threads: int) -> SegmentModel: ...

    def load(self, device: Device, threads: int) -> SegmentModel:
        made = self.load_network(device, threads)
        for height, width in self.run.warm_up:
            with suppress(ImageError):  # no image depends on this answer
                made([black(self.view, height, width)] * self.run.batch)
        return made


def black(spec: ViewSpec, height: int, width: int) -> View:
    """A view of a black image."""
    tiles = [
        Tile(pixels=np.zeros((window.height, window.width, 3), np.uint8), box=window.box)
        for window in spec.windows(height, width)
    ]
    return View(image_id="", height=height, width=width, tiles=tuple(tiles))
