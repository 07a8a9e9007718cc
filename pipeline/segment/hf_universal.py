"""Which class, and which thing, is each pixel? Networks of queries: Mask2Former, MaskFormer, EoMT.

Each query answers with a class and a mask; torch_queries.py makes semantic, instance or panoptic segments of them, on
the device.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Final, Literal

from pipeline.checkpoint import Checkpoint
from pipeline.contracts import Device
from pipeline.errors import ConfigError
from pipeline.networks.torch_options import TorchOptions
from pipeline.records import Segments, View
from pipeline.segment.classes import class_segments, fit, mask_segments
from pipeline.segment.hub import model_type, names, preprocess, pretrained
from pipeline.segment.parts import check_number, check_whole, whole
from pipeline.segment.preprocess import Preprocess
from pipeline.view import Fit
from pipeline.weights import Weights

if TYPE_CHECKING:
    from pipeline.segment.torch_queries import QueryNet

_TYPES: Final = {"mask2former", "maskformer", "eomt", "eomt_dinov3"}
Task = Literal["semantic", "instance", "panoptic"]


@dataclass(frozen=True, kw_only=True)
class HfUniversal:
    """Segments named as the checkpoint's config names its classes.

    model: config.json, preprocessor_config.json, model.safetensors. task: semantic: one segment a class; instance: one
    a query that is sure enough, which may overlap; panoptic: no pixel in two, one a thing, one a class of `fuse`.
    score: probability of its class from which on a query counts (not semantic). mask: from which on a pixel is inside.
    overlap: panoptic: a query of which the others leave a smaller share is dropped. longest, run: as in HfSemantic.
    """

    model: Checkpoint
    task: Task
    score: float = 0.5
    mask: float = 0.5
    overlap: float = 0.8
    fuse: tuple[str, ...] = ()
    longest: int = 2048
    run: TorchOptions = field(default_factory=TorchOptions)

    def __post_init__(self) -> None:
        if self.task not in ("semantic", "instance", "panoptic"):
            raise ConfigError(f"segment.hf_universal.task: expected semantic, instance or panoptic, got {self.task!r}")
        for key in ("score", "mask", "overlap"):
            check_number(f"hf_universal.{key}", getattr(self, key), 0, 1)
        check_whole("hf_universal.longest", self.longest, 0, 1 << 15)
        model_type("hf_universal", self.model, _TYPES)
        _ = self._how
        for label in self.fuse:
            if label not in self._names:
                near = difflib.get_close_matches(label, self._names, n=1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                raise ConfigError(f"segment.hf_universal.fuse: the model has no class {label!r}{hint}")

    @cached_property
    def _names(self) -> tuple[str, ...]:
        return names("hf_universal", self.model)

    @cached_property
    def _how(self) -> Preprocess:
        return preprocess("hf_universal", self.model)

    @property
    def view(self) -> Fit:
        return Fit(side=self.longest or 1 << 15, multiple=1, resample="area")

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(name for name in self._names if name))

    @property
    def weights(self) -> tuple[Weights, ...]:
        return self.model.weights

    def load(self, device: Device, threads: int) -> HotUniversal:
        module = pretrained("hf_universal", self.model, "AutoModelForUniversalSegmentation")
        from pipeline.segment.torch_net import Net
        from pipeline.segment.torch_queries import QueryNet

        return HotUniversal(self, QueryNet(Net(module, device, threads, self.run), self._how))


class HotUniversal:
    def __init__(self, cold: HfUniversal, net: QueryNet) -> None:
        self._cold, self._net = cold, net

    def __call__(self, views: Sequence[View]) -> list[Segments]:
        cold = self._cold
        tiles = [whole(view).pixels for view in views]
        sizes = [fit(view.height, view.width) for view in views]
        found: dict[int, Segments] = {}
        if cold.task == "semantic":
            for position, classes in self._net.classes(tiles, sizes):
                found[position] = class_segments(classes, views[position], cold._names, cold.model)
        else:
            fused = frozenset(number for number, name in enumerate(cold._names) if name in cold.fuse)
            for position, masks in self._net.masks(
                tiles, sizes, panoptic=cold.task == "panoptic", score=cold.score, mask=cold.mask,
                overlap=cold.overlap, fused=fused,
            ):  # fmt: skip
                found[position] = mask_segments(masks, views[position], cold._names, cold.model)
        return [found[position] for position in range(len(views))]
