"""Where is what these words say? Text prompts: CLIPSeg; Grounding DINO's boxes that SAM 2 makes masks of; SAM 3.

`prompts` are the labels of the segments. torch_prompts.py computes; nothing here imports torch.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar

from pipeline.contracts import SegmentModel
from pipeline.errors import ConfigError
from pipeline.image.view import Fit, Tiles
from pipeline.models.checkpoint import Checkpoint
from pipeline.models.weights import Weights
from pipeline.records import Device
from pipeline.segment.hf.checkpoint_config import (
    HubSegmenter,
    check_tokenizer,
    model_type,
    preprocess,
    pretrained,
    tokenize,
    whole_number,
)
from pipeline.segment.shared.class_map import NetworkModel, mask_segments
from pipeline.segment.shared.fields import check_number, check_whole
from pipeline.segment.shared.preprocess import Preprocess
from pipeline.segment.shared.sliding_window import SlidingWindow
from pipeline.segment.shared.sliding_window_run import SlidingWindowModel


@dataclass(frozen=True, kw_only=True)
class _Prompted(HubSegmenter):
    prompts: tuple[str, ...]

    family: ClassVar = "hf_prompt"

    def __post_init__(self) -> None:
        super().__post_init__()
        prompts = self.prompts
        fine = bool(prompts) and all(isinstance(p, str) and p.strip() and "." not in p for p in prompts)
        if not fine or len(set(prompts)) != len(prompts):
            raise ConfigError(
                "segment.hf_prompt.prompts: expected different words to look for, [license plate, person], got "
                f"{prompts!r}"
            )

    @property
    def labels(self) -> tuple[str, ...]:
        return self.prompts

    @abstractmethod
    def tokens(self) -> list[list[int]]:
        """Of each prompt, by the checkpoint's own tokenizer. Raises ConfigError for a prompt that is too long."""

    def check(self) -> None:
        self.tokens()


@dataclass(frozen=True, kw_only=True)
class _OneModel(_Prompted):
    """A checkpoint that both reads and sees. types: of its config.json."""

    model: Checkpoint

    types: ClassVar[frozenset[str]]

    def __post_init__(self) -> None:
        super().__post_init__()
        model_type("hf_prompt", self.model, self.types)
        check_tokenizer("hf_prompt", self.model)
        _ = self._how

    @cached_property
    def _how(self) -> Preprocess:
        return preprocess("hf_prompt", self.model)

    @property
    def weights(self) -> tuple[Weights, ...]:
        return self.model.weights


@dataclass(frozen=True, kw_only=True)
class HfClipSeg(_OneModel):
    """One segment for each prompt that is there (CLIPSeg, Lüddecke and Ecker 2022, arXiv:2112.10003).

    model: a CLIPSeg checkpoint with its tokenizer. prompts: what to look for, in words. score: probability from which
    on a pixel is inside. longest, look, run: as in HfSemantic; a call is one image with all prompts.
    """

    score: float = 0.5
    longest: int = 1024
    sliding_window: SlidingWindow = field(default_factory=SlidingWindow)

    types: ClassVar = frozenset({"clipseg"})

    def __post_init__(self) -> None:
        check_number("hf_prompt.score", self.score, 0, 1)
        super().__post_init__()
        _ = self.view

    @property
    def view(self) -> Fit | Tiles:
        return self.sliding_window.view(self.longest or 1 << 15, 1)

    def tokens(self) -> list[list[int]]:
        longest = whole_number("hf_prompt", self.model, 77, "text_config", "max_position_embeddings")
        return tokenize("hf_prompt", self.model, self.prompts, longest)

    def load_network(self, device: Device, threads: int) -> SegmentModel:
        module = pretrained("hf_prompt", self.model, "CLIPSegForImageSegmentation")
        from pipeline.segment.hf.prompt_nets import ClipSegNet
        from pipeline.segment.shared.torch_runner import Net

        net = Net(module, device, threads, self.run)
        found = ClipSegNet(net, self._how, self.tokens(), self.score)
        if not self.sliding_window.plain:
            from pipeline.segment.shared.torch_scorer import TorchScorer

            scorer = TorchScorer(net, self._how, found.logits, self.sliding_window, found.maps)
            return SlidingWindowModel(scorer, self.sliding_window, self.prompts, self.model)
        return NetworkModel(found.each, mask_segments, self.prompts, self.model)


@dataclass(frozen=True, kw_only=True)
class HfGroundedSam(_Prompted):
    """One segment for each thing that a prompt names: Grounding DINO (arXiv:2303.05499) finds a box, SAM 2
    (arXiv:2408.00714) its mask. No `look`: a thing on the border of two tiles would be two.

    boxes: a Grounding DINO checkpoint with its tokenizer. masks: a SAM 2 checkpoint. prompts: in words, without full
    stops. score: of a box. most: boxes of an image at most, the best ones. longest, run: as in HfSemantic, but each
    image goes alone, whatever run.batch.
    """

    boxes: Checkpoint
    masks: Checkpoint
    score: float = 0.35
    max_detections: int = 100

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("hf_prompt.score", self.score, 0, 1)
        check_whole("hf_prompt.max_detections", self.max_detections, 1, 1000)
        model_type("hf_prompt", self.boxes, {"grounding-dino"})
        model_type("hf_prompt", self.masks, {"sam2", "sam2_video"})
        check_tokenizer("hf_prompt", self.boxes, "boxes")
        _ = self._how

    @cached_property
    def _how(self) -> tuple[Preprocess, Preprocess]:
        return preprocess("hf_prompt", self.boxes), preprocess("hf_prompt", self.masks)

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


@dataclass(frozen=True, kw_only=True)
class HfSam3(_OneModel):
    """One segment for each thing that a prompt names (SAM 3, "Segment Anything with Concepts", arXiv:2511.16719). No
    `look`: a thing on the border of two tiles would be two.

    model: a SAM 3 checkpoint with its tokenizer. prompts: short noun phrases. score: of a thing, times that of the
    prompt being in the image at all. mask: probability from which on a pixel is inside. most: things of an image at
    most, the best ones. longest, run: as in HfSemantic, but each image goes alone, whatever run.batch.
    """

    score: float = 0.5
    mask: float = 0.5
    max_detections: int = 100

    types: ClassVar = frozenset({"sam3", "sam3_video"})

    def __post_init__(self) -> None:
        check_number("hf_prompt.score", self.score, 0, 1)
        check_number("hf_prompt.mask", self.mask, 0, 1)
        check_whole("hf_prompt.max_detections", self.max_detections, 1, 1000)
        super().__post_init__()

    def tokens(self) -> list[list[int]]:
        of_video = ("detector_config",) if model_type("hf_prompt", self.model, self.types) != "sam3" else ()
        keys = (*of_video, "text_config", "max_position_embeddings")
        return tokenize("hf_prompt", self.model, self.prompts, whole_number("hf_prompt", self.model, 32, *keys))

    def load_network(self, device: Device, threads: int) -> SegmentModel:
        module = pretrained("hf_prompt", self.model, "Sam3Model")
        from pipeline.segment.hf.prompt_nets import Sam3Net
        from pipeline.segment.shared.torch_runner import Net

        net = Net(module, device, threads, self.run)
        found = Sam3Net(net, self._how, self.tokens(), self.score, self.mask, self.max_detections)
        return NetworkModel(found.each, mask_segments, self.prompts, self.model)
