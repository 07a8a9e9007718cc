"""What our own networks (fcn.py, unet.py) share: weights from one .safetensors file, one segment a class."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pipeline.contracts import SegmentModel
from pipeline.image.view import Fit, Tiles
from pipeline.models.torch_options import TorchOptions, need
from pipeline.records import Device
from pipeline.segment.shared.class_map import NetworkModel, OneFile, class_segments
from pipeline.segment.shared.fields import check_whole
from pipeline.segment.shared.preprocess import Preprocess
from pipeline.segment.shared.sliding_window import SlidingWindow
from pipeline.segment.shared.sliding_window_run import SlidingWindowModel
from pipeline.segment.shared.warm_up import WarmStart

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, kw_only=True)
class OwnNetwork(OneFile, WarmStart):
    """One segment for each class present.

    model: a .safetensors file with the network's state. names: of class 0, 1, ...; "" is never a segment. side: the
    longer side that the network sees; larger images are shrunk, or, with sliding_window.overlap, seen in tiles of
    that side.
    width: channels of the first stage. mean, std: of red, green, blue in 0..1. sliding_window: tiles,
    sizes, mirror images.
    run: how torch runs.
    """

    side: int = 1024
    width: int = 64
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    sliding_window: SlidingWindow = field(default_factory=SlidingWindow)
    run: TorchOptions = field(default_factory=TorchOptions)

    def __post_init__(self) -> None:
        family = type(self).__name__.lower()
        self.check_parts(family, ".safetensors")
        check_whole(f"{family}.side", self.side, 32, 1 << 14)
        check_whole(f"{family}.width", self.width, 1, 1024)
        _ = self._how, self.view

    @property
    @abstractmethod
    def multiple(self) -> int:
        """Of pixels, that each side of what the network sees must be."""

    @abstractmethod
    def network(self) -> torch.nn.Module:
        """(n, 3, h, w) to logits (n, classes, h, w)."""

    @property
    def _how(self) -> Preprocess:
        return Preprocess(mean=self.mean, std=self.std, multiple=self.multiple)

    @property
    def view(self) -> Fit | Tiles:
        return self.sliding_window.view(self.side, self.multiple)

    def check(self) -> None:
        """Raises ConfigError or WeightsError when the file holds another network."""
        need(f"segment.{type(self).__name__.lower()}", "torch", "safetensors")
        from pipeline.segment.shared.torch_runner import check_file

        check_file(self.network(), self.model.fetch())

    def load_network(self, device: Device, threads: int) -> SegmentModel:
        need(f"segment.{type(self).__name__.lower()}", "torch", "safetensors")
        from pipeline.segment.shared.torch_runner import ClassNet, Net, fill_in

        net = Net(fill_in(self.network(), self.model.fetch()), device, threads, self.run)
        if self.sliding_window.plain:
            return NetworkModel(ClassNet(net, self._how, _logits).each, class_segments, self.names, self.model)
        from pipeline.segment.shared.torch_scorer import TorchScorer

        return SlidingWindowModel(
            TorchScorer(net, self._how, _logits, self.sliding_window), self.sliding_window, self.names, self.model
        )


def _logits(module: torch.nn.Module, batch: torch.Tensor) -> torch.Tensor:
    answer: torch.Tensor = module(batch)
    return answer
