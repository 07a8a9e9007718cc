"""Classes of pixels by checkpoints that transformers loads as AutoModelForSemanticSegmentation.

SegFormer, UPerNet, BEiT, Data2Vec, DPT, MobileNetV2-DeepLab, MobileViT. The steps of the image processor are read from
preprocessor_config.json and done in torch on the device.
"""

from __future__ import annotations

from dataclasses import field
from typing import ClassVar

from pipeline.contracts import SegmentModel
from pipeline.image.view import Fit, Tiles
from pipeline.records import Device
from pipeline.segment.hf.checkpoint_config import Classes, pretrained
from pipeline.segment.shared.sliding_window import SlidingWindow
from pipeline.spec import spec


@spec
class HfSemantic(Classes):
    """One segment for each class present, named as in the checkpoint's config."""

    sliding_window: SlidingWindow = field(default_factory=SlidingWindow)
    """Tiles, scales, mirror images. `longest` is the side of a tile: give the checkpoint's own size, or its
    preprocessing shrinks each tile."""

    family: ClassVar = "hf_semantic"
    types: ClassVar = (
        "beit", "data2vec-vision", "dpt", "mobilenet_v2", "mobilevit", "mobilevitv2", "segformer", "upernet",
    )  # fmt: skip

    @property
    def view(self) -> Fit | Tiles:
        return self.sliding_window.view(self.longest or 1 << 15, 1, "longest")

    def load_network(self, device: Device, threads: int) -> SegmentModel:
        module = pretrained(self.family, self.model, "AutoModelForSemanticSegmentation")
        from pipeline.segment.shared.torch_runner import Net
        from pipeline.segment.shared.torch_scorer import class_segmenter

        return class_segmenter(
            Net(module, device, threads, self.run), self.how, lambda module, batch: module(pixel_values=batch).logits,
            self.sliding_window, self.names, self.model,
        )  # fmt: skip
