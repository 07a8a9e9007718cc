"""Which class is each pixel? Every checkpoint that transformers loads as AutoModelForSemanticSegmentation.

SegFormer, UPerNet, BEiT, Data2Vec, DPT, MobileNetV2-DeepLab, MobileViT and what that class learns next. What its image
processor would do is read from preprocessor_config.json and done in torch on the device.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from pipeline.contracts import SegmentModel
from pipeline.image.view import Fit, Tiles
from pipeline.records import Device
from pipeline.segment.hf.checkpoint_config import Classes, pretrained
from pipeline.segment.shared.class_map import NetworkModel, class_segments
from pipeline.segment.shared.sliding_window import SlidingWindow
from pipeline.segment.shared.sliding_window_run import SlidingWindowModel

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, kw_only=True)
class HfSemantic(Classes):
    """One segment for each class present, named as the checkpoint's config names it.

    model: config.json, preprocessor_config.json, model.safetensors. longest: larger images are shrunk to this longer
    side when they are decoded; the rest is up to the checkpoint. 0: never, then a network sees exactly what the
    reference processor shows it, of any image. look: tiles, sizes, mirror images; `longest` is then the side of a tile:
    give the checkpoint's own size, or it shrinks each. run: how torch runs.
    """

    sliding_window: SlidingWindow = field(default_factory=SlidingWindow)

    family: ClassVar = "hf_semantic"
    types: ClassVar = (
        "beit", "data2vec-vision", "dpt", "mobilenet_v2", "mobilevit", "mobilevitv2", "segformer", "upernet",
    )  # fmt: skip

    @property
    def view(self) -> Fit | Tiles:
        return self.sliding_window.view(self.longest or 1 << 15, 1)

    def load_network(self, device: Device, threads: int) -> SegmentModel:
        module = pretrained(self.family, self.model, "AutoModelForSemanticSegmentation")
        from pipeline.segment.shared.torch_runner import ClassNet, Net

        net = Net(module, device, threads, self.run)
        if self.sliding_window.plain:
            return NetworkModel(ClassNet(net, self.how, _logits).each, class_segments, self.names, self.model)
        from pipeline.segment.shared.torch_scorer import TorchScorer

        return SlidingWindowModel(
            TorchScorer(net, self.how, _logits, self.sliding_window), self.sliding_window, self.names, self.model
        )


def _logits(module: torch.nn.Module, batch: torch.Tensor) -> torch.Tensor:
    answer: torch.Tensor = module(pixel_values=batch).logits
    return answer
