"""Segments by text prompts: CLIPSeg; Grounding DINO's boxes with SAM 2's masks; SAM 3.

The prompts are the labels of the segments. prompt_nets.py computes; nothing here imports torch.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import field
from functools import cached_property
from typing import Annotated, ClassVar

from pydantic import Field

from pipeline.contracts import SegmentModel
from pipeline.errors import ConfigError
from pipeline.image.view import Fit, Tiles
from pipeline.models.checkpoint import Checkpoint
from pipeline.models.weights import Weights
from pipeline.records import Device
from pipeline.segment.hf.checkpoint_config import (
    HubSegmenter,
    Longest,
    check_tokenizer,
    check_type,
    preprocess,
    pretrained,
    tokenize,
    whole_number,
)
from pipeline.segment.shared.class_map import NetworkModel, mask_segments
from pipeline.segment.shared.preprocess import Preprocess
from pipeline.segment.shared.sliding_window import SlidingWindow
from pipeline.spec import FieldError, Share, spec

MaxDetections = Annotated[int, Field(ge=1, le=1000)]


@spec
class _Prompted(HubSegmenter):
    prompts: tuple[str, ...]
    """What to find, [license plate, person]: short phrases without full stops. They are the labels of the segments."""

    family: ClassVar = "hf_prompt"

    def __post_init__(self) -> None:
        distinct = len(set(self.prompts)) == len(self.prompts) > 0
        if not distinct or not all(prompt.strip() and "." not in prompt for prompt in self.prompts):
            raise FieldError(
                "prompts",
                f": expected different phrases to find, [license plate, person], got {self.prompts!r}",
            )

    @property
    def labels(self) -> tuple[str, ...]:
        return self.prompts

    @abstractmethod
    def tokens(self) -> list[list[int]]:
        """Of each prompt, by the checkpoint's own tokenizer. Raises ConfigError for a prompt that is too long."""

    def check(self) -> None:
        self.tokens()


@spec
class _OneModel(_Prompted):
    """Base for checkpoints that encode both text and images. types: model types of config.json that the class knows."""

    model: Checkpoint
    """The checkpoint, with its tokenizer."""

    types: ClassVar[frozenset[str]]

    def __post_init__(self) -> None:
        super().__post_init__()
        check_type("model", self.model, self.types)
        check_tokenizer("model", self.model)
        _ = self._how, self.view

    @cached_property
    def _how(self) -> Preprocess:
        return preprocess("model", self.model)

    @property
    def weights(self) -> tuple[Weights, ...]:
        return self.model.weights


@spec
class HfClipSeg(_OneModel):
    """One segment for each prompt that is found (CLIPSeg, Lüddecke and Ecker 2022, arXiv:2112.10003). A call is one
    image with all prompts, whatever run.batch."""

    score: Share = 0.5
    """Minimum probability of a pixel inside."""
    longest: Longest = 1024
    """Larger images are shrunk to this longer side when they are decoded, in pixels; 0: never."""
    sliding_window: SlidingWindow = field(default_factory=SlidingWindow)
    """Tiles, scales, mirror images. `longest` is the side of a tile."""

    types: ClassVar = frozenset({"clipseg"})

    @property
    def view(self) -> Fit | Tiles:
        return self.sliding_window.view(self.longest or 1 << 15, 1, "longest")

    def tokens(self) -> list[list[int]]:
        longest = whole_number("hf_prompt", self.model, 77, "text_config", "max_position_embeddings")
        return tokenize("hf_prompt", self.model, self.prompts, longest)

    def load_network(self, device: Device, threads: int) -> SegmentModel:
        module = pretrained("hf_prompt", self.model, "CLIPSegForImageSegmentation")
        from pipeline.segment.hf.prompt_nets import ClipSegNet
        from pipeline.segment.shared.torch_runner import Net
        from pipeline.segment.shared.torch_scorer import class_segmenter

        net = Net(module, device, threads, self.run)
        found = ClipSegNet(net, self._how, self.tokens(), self.score)
        return class_segmenter(
            net, self._how, found.logits, self.sliding_window, self.prompts, self.model, best=found.maps,
            whole=NetworkModel(found.each, mask_segments, self.prompts, self.model),
        )  # fmt: skip


@spec
class HfGroundedSam(_Prompted):
    """One segment for each object that a prompt names: Grounding DINO (arXiv:2303.05499) finds its box, SAM 2
    (arXiv:2408.00714) its mask. There is no sliding window: an object on the border of two tiles would become two. Each
    image goes alone, whatever run.batch."""

    boxes: Checkpoint
    """A Grounding DINO checkpoint, with its tokenizer."""
    masks: Checkpoint
    """A SAM 2 checkpoint."""
    score: Share = 0.35
    """Minimum score of a box."""
    max_detections: MaxDetections = 100
    """Maximum number of boxes in an image; the best ones stay."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_type("boxes", self.boxes, {"grounding-dino"})
        check_type("masks", self.masks, {"sam2", "sam2_video"})
        check_tokenizer("boxes", self.boxes)
        _ = self._how

    @cached_property
    def _how(self) -> tuple[Preprocess, Preprocess]:
        return preprocess("boxes", self.boxes), preprocess("masks", self.masks)

    @property
    def weights(self) -> tuple[Weights, ...]:
        return (*self.boxes.weights, *self.masks.weights)

    def tokens(self) -> list[list[int]]:
        longest = whole_number("hf_prompt", self.boxes, 256, "max_text_len")
        found = tokenize("hf_prompt", self.boxes, [f"{prompt.lower()} ." for prompt in self.prompts], longest)
        together = sum(len(one) - 2 for one in found) + 2  # one sentence: begin and end only once
        if together > longest:
            raise ConfigError(f"segment.hf_prompt.prompts: expected at most {longest} tokens in all, got {together}")
        return found

    def load_network(self, device: Device, threads: int) -> SegmentModel:
        finder = pretrained("hf_prompt", self.boxes, "GroundingDinoForObjectDetection")
        cutter = pretrained("hf_prompt", self.masks, "Sam2Model")
        from pipeline.segment.hf.prompt_nets import GroundedSamNet
        from pipeline.segment.shared.torch_runner import Net

        nets = (Net(finder, device, threads, self.run), Net(cutter, device, threads, self.run))
        found = GroundedSamNet(*nets, *self._how, self.tokens(), self.score, self.max_detections)
        return NetworkModel(found.each, mask_segments, self.prompts, self.masks)


@spec
class HfSam3(_OneModel):
    """One segment for each object that a prompt names (SAM 3, "Segment Anything with Concepts", arXiv:2511.16719).
    There is no sliding window: an object on the border of two tiles would become two. Each image goes alone, whatever
    run.batch."""

    score: Share = 0.5
    """Minimum score: of the object, times that of the prompt being in the image at all."""
    mask: Share = 0.5
    """Minimum probability of a pixel inside."""
    max_detections: MaxDetections = 100
    """Maximum number of objects in an image; the best ones stay."""

    types: ClassVar = frozenset({"sam3", "sam3_video"})

    def tokens(self) -> list[list[int]]:
        of_video = ("detector_config",) if check_type("model", self.model, self.types) != "sam3" else ()
        keys = (*of_video, "text_config", "max_position_embeddings")
        return tokenize("hf_prompt", self.model, self.prompts, whole_number("hf_prompt", self.model, 32, *keys))

    def load_network(self, device: Device, threads: int) -> SegmentModel:
        module = pretrained("hf_prompt", self.model, "Sam3Model")
        from pipeline.segment.hf.prompt_nets import Sam3Net
        from pipeline.segment.shared.torch_runner import Net

        net = Net(module, device, threads, self.run)
        found = Sam3Net(net, self._how, self.tokens(), self.score, self.mask, self.max_detections)
        return NetworkModel(found.each, mask_segments, self.prompts, self.model)
