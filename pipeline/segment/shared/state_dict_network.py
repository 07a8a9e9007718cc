"""What our own networks (fcn.py, unet.py) share: one .safetensors file of weights, one segment per class."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import field
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from pipeline.contracts import SegmentModel
from pipeline.image.view import Fit, Tiles
from pipeline.models.torch_options import need
from pipeline.records import Device
from pipeline.segment.shared.class_map import OneFile
from pipeline.segment.shared.fields import Side
from pipeline.segment.shared.preprocess import Positive, Preprocess
from pipeline.segment.shared.sliding_window import SlidingWindow
from pipeline.segment.shared.warm_up import WarmStart
from pipeline.spec import spec

if TYPE_CHECKING:
    import torch


@spec
class OwnNetwork(OneFile, WarmStart):
    """Base of segmenters whose network is a torch module of ours."""

    side: Side = 1024
    """Longer side of the network's input, in pixels; larger images are shrunk, or with sliding_window.overlap seen in
    tiles of this side."""
    width: Annotated[int, Field(ge=1, le=1024)] = 64
    """Channels of the first stage."""
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    """Subtracted from red, green, blue in 0..1."""
    std: tuple[Positive, Positive, Positive] = (0.229, 0.224, 0.225)
    """Divisor of the rest, for red, green, blue."""
    sliding_window: SlidingWindow = field(default_factory=SlidingWindow)
    """Tiles, scales, mirror images."""

    suffixes: ClassVar = (".safetensors",)

    def __post_init__(self) -> None:
        super().__post_init__()
        _ = self.view

    @property
    @abstractmethod
    def multiple(self) -> int:
        """Sides of the network's input are multiples of this many pixels."""

    @abstractmethod
    def network(self) -> torch.nn.Module:
        """The module without weights: (n, 3, h, w) to logits (n, classes, h, w)."""

    @property
    def view(self) -> Fit | Tiles:
        return self.sliding_window.view(self.side, self.multiple)

    def check(self) -> None:
        """Raise ConfigError without torch, WeightsError when the file holds another network."""
        self._need_torch()
        from pipeline.segment.shared.torch_runner import check_file

        check_file(self.network(), self.model.fetch())

    def load_network(self, device: Device, threads: int) -> SegmentModel:
        self._need_torch()
        from pipeline.segment.shared.torch_runner import Net, fill_in
        from pipeline.segment.shared.torch_scorer import class_segmenter

        net = Net(fill_in(self.network(), self.model.fetch()), device, threads, self.run)
        how = Preprocess(mean=self.mean, std=self.std, multiple=self.multiple)
        return class_segmenter(
            net, how, lambda module, batch: module(batch), self.sliding_window, self.names, self.model
        )

    def _need_torch(self) -> None:
        need(f"segment.{type(self).__name__.lower()}", "torch", "safetensors")
