"""Classes or objects by networks of queries: Mask2Former, MaskFormer, OneFormer, EoMT.

Each query answers with a class and a mask; query_net.py turns them into semantic, instance or panoptic segments on the
device.
"""

from __future__ import annotations

from dataclasses import field
from functools import partial
from typing import ClassVar, Literal

from pipeline.contracts import SegmentModel
from pipeline.errors import nearest
from pipeline.image.view import Fit, Tiles
from pipeline.records import Device
from pipeline.segment.hf.checkpoint_config import Classes, check_tokenizer, pretrained, tokenize, whole_number
from pipeline.segment.shared.class_map import NetworkModel, class_segments, mask_segments
from pipeline.segment.shared.sliding_window import SlidingWindow
from pipeline.spec import FieldError, Share, spec

Task = Literal["semantic", "instance", "panoptic"]


@spec
class HfUniversal(Classes):
    """Segments named as the classes in the checkpoint's config. OneFormer needs its tokenizer among model.files."""

    task: Task
    """semantic: one segment per class. instance: one per query, which may overlap. panoptic: one per query, without
    overlap, and one per class of `fuse`."""
    score: Share = 0.5
    """Minimum class probability of a query; not with semantic."""
    mask: Share = 0.5
    """Minimum probability of a pixel inside a query's mask; not with semantic."""
    overlap: Share = 0.8
    """panoptic: a query that keeps at most this share of its mask against the others is dropped."""
    fuse: tuple[str, ...] = ()
    """panoptic: labels whose segments become one, such as sky and road."""
    sliding_window: SlidingWindow = field(default_factory=SlidingWindow)
    """Tiles, scales, mirror images, with semantic only. `longest` is the side of a tile: give the checkpoint's own
    size, or its preprocessing shrinks each tile."""

    family: ClassVar = "hf_universal"
    types: ClassVar = ("eomt", "eomt_dinov3", "mask2former", "maskformer", "oneformer")
    squares: ClassVar = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.how.split and self.task != "semantic":
            raise FieldError(
                "model",
                ": preprocessor_config.json: do_split_image is for task=semantic: an object in two squares would "
                "become two",
            )
        if not self.sliding_window.plain and self.task != "semantic":
            raise FieldError(
                "sliding_window",
                ": is for task=semantic: an object on the border of two tiles would become two, and the queries of two "
                "passes are not the same objects",
            )
        if not self.sliding_window.plain and (self.how.split or self.how.pad):
            raise FieldError("sliding_window", ": this checkpoint splits or pads an image itself")
        if self._has_task:
            check_tokenizer("model", self.model)
        for label in self.fuse:
            if label not in self.names:
                raise FieldError("fuse", f": the model has no class {label!r}{nearest(label, self.names)}")

    @property
    def view(self) -> Fit | Tiles:
        return self.sliding_window.view(self.longest or 1 << 15, 1, "longest")

    @property
    def _has_task(self) -> bool:
        return self.model.read("config.json").get("model_type") == "oneformer"

    def task_tokens(self) -> list[int]:
        """The task as tokens, filled up with 0 as OneFormer's processor does; [] for other networks."""
        if not self._has_task:
            return []
        length = whole_number(self.family, self.model, 77, "task_seq_len")
        (tokens,) = tokenize(self.family, self.model, [f"the task is {self.task}"], length)
        return tokens + [0] * (length - len(tokens))

    def load_network(self, device: Device, threads: int) -> SegmentModel:
        module = pretrained(self.family, self.model, "AutoModelForUniversalSegmentation")
        from pipeline.segment.hf.query_net import QueryNet, best_values
        from pipeline.segment.shared.torch_runner import Net
        from pipeline.segment.shared.torch_scorer import class_segmenter

        net = Net(module, device, threads, self.run)
        queries = QueryNet(net, self.how, self.task_tokens())
        if self.task == "semantic":
            return class_segmenter(
                net, self.how, queries.values, self.sliding_window, self.names, self.model,
                best=lambda values, size: (best_values(values, size),),
                whole=NetworkModel(queries.classes, class_segments, self.names, self.model),
            )  # fmt: skip
        fused = frozenset(number for number, name in enumerate(self.names) if name in self.fuse)
        masks = partial(
            queries.masks, panoptic=self.task == "panoptic", score=self.score, mask=self.mask, overlap=self.overlap,
            fused=fused,
        )  # fmt: skip
        return NetworkModel(masks, mask_segments, self.names, self.model)
