"""Which class, and which thing, is each pixel? Networks of queries: Mask2Former, MaskFormer, OneFormer, EoMT.

Each query answers with a class and a mask; torch_queries.py makes semantic, instance or panoptic segments of them, on
the device.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar, Literal

from pipeline.contracts import SegmentModel
from pipeline.errors import ConfigError
from pipeline.image.view import Fit, Tiles
from pipeline.records import Device
from pipeline.segment.hf.checkpoint_config import Classes, check_tokenizer, pretrained, tokenize, whole_number
from pipeline.segment.shared.class_map import NetworkModel, class_segments, mask_segments
from pipeline.segment.shared.fields import check_number
from pipeline.segment.shared.sliding_window import SlidingWindow
from pipeline.segment.shared.sliding_window_run import SlidingWindowModel

Task = Literal["semantic", "instance", "panoptic"]


@dataclass(frozen=True, kw_only=True)
class HfUniversal(Classes):
    """Segments named as the checkpoint's config names its classes.

    model: config.json, preprocessor_config.json, model.safetensors; for OneFormer its tokenizer too. task: semantic:
    one segment a class; instance: one a query that is sure enough, which may overlap; panoptic: no pixel in two, one a
    thing, one a class of `fuse`. score: probability of its class from which on a query counts (not semantic). mask:
    from which on a pixel is inside. overlap: panoptic: a query of which the others leave a smaller share is dropped.
    longest, look, run: as in HfSemantic; `look` with semantic only.
    """

    task: Task
    score: float = 0.5
    mask: float = 0.5
    overlap: float = 0.8
    fuse: tuple[str, ...] = ()
    sliding_window: SlidingWindow = field(default_factory=SlidingWindow)

    family: ClassVar = "hf_universal"
    types: ClassVar = ("eomt", "eomt_dinov3", "mask2former", "maskformer", "oneformer")
    squares: ClassVar = True

    def __post_init__(self) -> None:
        if self.task not in ("semantic", "instance", "panoptic"):
            raise ConfigError(f"segment.hf_universal.task: expected semantic, instance or panoptic, got {self.task!r}")
        for key in ("score", "mask", "overlap"):
            check_number(f"hf_universal.{key}", getattr(self, key), 0, 1)
        super().__post_init__()
        if self.how.split and self.task != "semantic":
            raise ConfigError(
                "segment.hf_universal.model: preprocessor_config.json: do_split_image is for task=semantic: a thing "
                "that two squares show would be two"
            )
        if not self.sliding_window.plain and self.task != "semantic":
            raise ConfigError(
                "segment.hf_universal.sliding_window: is for task=semantic: a thing on the border of two tiles "
                "would be two, and "
                "the queries of two looks are not the same things"
            )
        if not self.sliding_window.plain and (self.how.split or self.how.pad):
            raise ConfigError(
                "segment.hf_universal.sliding_window: this checkpoint cuts or fills up an image by itself"
            )
        if self._has_task:
            check_tokenizer(self.family, self.model)
        for label in self.fuse:
            if label not in self.names:
                near = difflib.get_close_matches(label, self.names, n=1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                raise ConfigError(f"segment.hf_universal.fuse: the model has no class {label!r}{hint}")

    @property
    def view(self) -> Fit | Tiles:
        return self.sliding_window.view(self.longest or 1 << 15, 1)

    @property
    def _has_task(self) -> bool:
        return self.model.read("config.json").get("model_type") == "oneformer"

    def task_tokens(self) -> list[int]:
        """What a OneFormer is told to answer, as tokens, filled up with 0 as its processor does; [] for the others."""
        if not self._has_task:
            return []
        length = whole_number(self.family, self.model, 77, "task_seq_len")
        (tokens,) = tokenize(self.family, self.model, [f"the task is {self.task}"], length)
        return tokens + [0] * (length - len(tokens))

    def load_network(self, device: Device, threads: int) -> SegmentModel:
        module = pretrained(self.family, self.model, "AutoModelForUniversalSegmentation")
        from pipeline.segment.hf.query_net import QueryNet, best_values
        from pipeline.segment.shared.torch_runner import Net

        runs = Net(module, device, threads, self.run)
        net = QueryNet(runs, self.how, self.task_tokens())
        if not self.sliding_window.plain:
            from pipeline.segment.shared.torch_scorer import TorchScorer

            scorer = TorchScorer(
                runs, self.how, net.values, self.sliding_window, lambda values, size: (best_values(values, size),)
            )
            return SlidingWindowModel(scorer, self.sliding_window, self.names, self.model)
        if self.task == "semantic":
            return NetworkModel(net.classes, class_segments, self.names, self.model)
        fused = frozenset(number for number, name in enumerate(self.names) if name in self.fuse)
        masks = partial(
            net.masks, panoptic=self.task == "panoptic", score=self.score, mask=self.mask, overlap=self.overlap,
            fused=fused,
        )  # fmt: skip
        return NetworkModel(masks, mask_segments, self.names, self.model)
