"""Which class, and which thing, is each pixel? Networks of queries: Mask2Former, MaskFormer, EoMT.

Each query answers with a class and a mask; torch_queries.py makes semantic, instance or panoptic segments of them, on
the device.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal

from pipeline.contracts import Device, HotSegmenter
from pipeline.errors import ConfigError
from pipeline.segment.classes import HotNetwork, class_segments, mask_segments
from pipeline.segment.hub import Classes, pretrained
from pipeline.segment.parts import check_number

Task = Literal["semantic", "instance", "panoptic"]


@dataclass(frozen=True, kw_only=True)
class HfUniversal(Classes):
    """Segments named as the checkpoint's config names its classes.

    model: config.json, preprocessor_config.json, model.safetensors. task: semantic: one segment a class; instance: one
    a query that is sure enough, which may overlap; panoptic: no pixel in two, one a thing, one a class of `fuse`.
    score: probability of its class from which on a query counts (not semantic). mask: from which on a pixel is inside.
    overlap: panoptic: a query of which the others leave a smaller share is dropped. longest, run: as in HfSemantic.
    """

    task: Task
    score: float = 0.5
    mask: float = 0.5
    overlap: float = 0.8
    fuse: tuple[str, ...] = ()

    family: ClassVar = "hf_universal"
    types: ClassVar = ("eomt", "eomt_dinov3", "mask2former", "maskformer")

    def __post_init__(self) -> None:
        if self.task not in ("semantic", "instance", "panoptic"):
            raise ConfigError(f"segment.hf_universal.task: expected semantic, instance or panoptic, got {self.task!r}")
        for key in ("score", "mask", "overlap"):
            check_number(f"hf_universal.{key}", getattr(self, key), 0, 1)
        super().__post_init__()
        for label in self.fuse:
            if label not in self.names:
                near = difflib.get_close_matches(label, self.names, n=1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                raise ConfigError(f"segment.hf_universal.fuse: the model has no class {label!r}{hint}")

    def load(self, device: Device, threads: int) -> HotSegmenter:
        module = pretrained(self.family, self.model, "AutoModelForUniversalSegmentation")
        from pipeline.segment.torch_net import Net
        from pipeline.segment.torch_queries import QueryNet

        net = QueryNet(Net(module, device, threads, self.run), self.how)
        if self.task == "semantic":
            return HotNetwork(net.classes, class_segments, self.names, self.model)
        fused = frozenset(number for number, name in enumerate(self.names) if name in self.fuse)
        masks = partial(
            net.masks, panoptic=self.task == "panoptic", score=self.score, mask=self.mask, overlap=self.overlap,
            fused=fused,
        )  # fmt: skip
        return HotNetwork(masks, mask_segments, self.names, self.model)
