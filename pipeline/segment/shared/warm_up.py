"""What a torch network builds and searches for at its first call is done when it is loaded: it sees a black image."""

from __future__ import annotations

from abc import abstractmethod
from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np

from pipeline.contracts import SegmentModel
from pipeline.errors import ImageError
from pipeline.image.view import ViewSpec
from pipeline.records import Device, Tile, View

if TYPE_CHECKING:
    from pipeline.models.torch_options import TorchOptions


class WarmStart:
    """A cold segmenter whose `load` is `load_network` and then the images of `run.warm_up`."""

    if TYPE_CHECKING:
        run: TorchOptions

    @property
    @abstractmethod
    def view(self) -> ViewSpec: ...

    @abstractmethod
    def load_network(self, device: Device, threads: int) -> SegmentModel: ...

    def load(self, device: Device, threads: int) -> SegmentModel:
        made = self.load_network(device, threads)
        for height, width in self.run.warm_up:
            with suppress(ImageError):  # of a black image: nobody's answer; an image of that size will get its own
                made([black(self.view, height, width)] * self.run.batch)
        return made


def black(spec: ViewSpec, height: int, width: int) -> View:
    """What a segmenter sees of a black image."""
    tiles = [
        Tile(pixels=np.zeros((window.height, window.width, 3), np.uint8), box=window.box)
        for window in spec.windows(height, width)
    ]
    return View(image_id="", height=height, width=width, tiles=tuple(tiles))
