"""Which class is each pixel? Every checkpoint that transformers loads as AutoModelForSemanticSegmentation.

SegFormer, UPerNet, BEiT, Data2Vec, DPT, MobileNetV2-DeepLab, MobileViT and what that class learns next. What its image
processor would do is read from preprocessor_config.json and done in torch on the device.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Final

from pipeline.checkpoint import Checkpoint
from pipeline.contracts import Device, HotSegmenter
from pipeline.networks.torch_options import TorchOptions
from pipeline.segment.hub import model_type, names, preprocess, pretrained
from pipeline.segment.look import Look
from pipeline.segment.own_network import HotClasses
from pipeline.segment.parts import check_whole
from pipeline.segment.preprocess import Preprocess
from pipeline.view import Fit, Tiles
from pipeline.weights import Weights

if TYPE_CHECKING:
    import torch

_TYPES: Final = (
    "beit", "data2vec-vision", "dpt", "mobilenet_v2", "mobilevit", "mobilevitv2", "segformer", "upernet",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class HfSemantic:
    """One segment for each class present, named as the checkpoint's config names it.

    model: config.json, preprocessor_config.json, model.safetensors. longest: larger images are shrunk to this longer
    side when they are decoded; the rest is up to the checkpoint. 0: never, then a network sees exactly what the
    reference processor shows it, of any image. look: tiles, sizes, mirror images; `longest` is then the side of a tile:
    give the checkpoint's own size, or it shrinks each. run: how torch runs.
    """

    model: Checkpoint
    longest: int = 2048
    look: Look = field(default_factory=Look)
    run: TorchOptions = field(default_factory=TorchOptions)

    def __post_init__(self) -> None:
        check_whole("hf_semantic.longest", self.longest, 0, 1 << 15)
        model_type("hf_semantic", self.model, _TYPES)
        _ = self._names, self._how, self.view

    @cached_property
    def _names(self) -> tuple[str, ...]:
        return names("hf_semantic", self.model)

    @cached_property
    def _how(self) -> Preprocess:
        return preprocess("hf_semantic", self.model)

    @property
    def view(self) -> Fit | Tiles:
        return self.look.view(self.longest or 1 << 15, 1)

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(name for name in self._names if name))

    @property
    def weights(self) -> tuple[Weights, ...]:
        return self.model.weights

    def load(self, device: Device, threads: int) -> HotSegmenter:
        module = pretrained("hf_semantic", self.model, "AutoModelForSemanticSegmentation")
        from pipeline.segment.torch_net import ClassNet, Net

        net = Net(module, device, threads, self.run)
        if self.look.plain:
            return HotClasses(ClassNet(net, self._how, _logits), self._names, self.model)
        from pipeline.segment.tiled import HotTiled

        return HotTiled(net, self._how, _logits, self.look, self._names, self.model)


def _logits(module: torch.nn.Module, batch: torch.Tensor) -> torch.Tensor:
    answer: torch.Tensor = module(pixel_values=batch).logits
    return answer
