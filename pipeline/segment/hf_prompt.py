"""Where is what these words say? Text prompts: CLIPSeg, or Grounding DINO's boxes that SAM 2 makes masks of.

`prompts` are the labels of the segments. torch_prompts.py computes; nothing here imports torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

from pipeline.checkpoint import Checkpoint
from pipeline.contracts import Device
from pipeline.errors import ConfigError
from pipeline.networks.torch_options import TorchOptions
from pipeline.records import Rgb, Segments, View
from pipeline.segment.classes import FoundMask, fit, mask_segments
from pipeline.segment.hub import model_type, preprocess, pretrained, words
from pipeline.segment.parts import Named, check_number, check_whole, whole
from pipeline.segment.preprocess import Preprocess
from pipeline.view import Fit
from pipeline.weights import Weights

if TYPE_CHECKING:
    from collections.abc import Iterator


class _Prompted(Protocol):
    def each(self, tiles: Sequence[Rgb], sizes: Sequence[tuple[int, int]]) -> Iterator[tuple[int, list[FoundMask]]]: ...


@dataclass(frozen=True, kw_only=True)
class HfClipSeg:
    """One segment for each prompt that is there (CLIPSeg, Lüddecke and Ecker 2022, arXiv:2112.10003).

    model: a CLIPSeg checkpoint with its tokenizer. prompts: what to look for, in words. score: probability from which
    on a pixel is inside. longest, run: as in HfSemantic.
    """

    model: Checkpoint
    prompts: tuple[str, ...]
    score: float = 0.5
    longest: int = 1024
    run: TorchOptions = field(default_factory=TorchOptions)

    def __post_init__(self) -> None:
        _check_prompts(self.prompts)
        check_number("hf_prompt.score", self.score, 0, 1)
        check_whole("hf_prompt.longest", self.longest, 0, 1 << 15)
        model_type("hf_prompt", self.model, {"clipseg"})
        _ = self._how

    @cached_property
    def _how(self) -> Preprocess:
        return preprocess("hf_prompt", self.model)

    @property
    def view(self) -> Fit:
        return Fit(side=self.longest or 1 << 15, multiple=1, resample="area")

    @property
    def labels(self) -> tuple[str, ...]:
        return self.prompts

    @property
    def weights(self) -> tuple[Weights, ...]:
        return self.model.weights

    def load(self, device: Device, threads: int) -> HotPrompted:
        module = pretrained("hf_prompt", self.model, "CLIPSegForImageSegmentation")
        from pipeline.segment.torch_net import Net
        from pipeline.segment.torch_prompts import ClipSegNet

        net = Net(module, device, threads, self.run)
        tokens = words("hf_prompt", self.model, self.prompts)
        return HotPrompted(ClipSegNet(net, self._how, tokens, self.score), self.prompts, self.model)


@dataclass(frozen=True, kw_only=True)
class HfGroundedSam:
    """One segment for each thing that a prompt names: Grounding DINO (arXiv:2303.05499) finds a box, SAM 2
    (arXiv:2408.00714) its mask.

    boxes: a Grounding DINO checkpoint with its tokenizer. masks: a SAM 2 checkpoint. prompts: in words, without full
    stops. score: of a box. most: boxes of an image at most, the best ones. longest, run: as in HfSemantic.
    """

    boxes: Checkpoint
    masks: Checkpoint
    prompts: tuple[str, ...]
    score: float = 0.35
    most: int = 100
    longest: int = 2048
    run: TorchOptions = field(default_factory=TorchOptions)

    def __post_init__(self) -> None:
        _check_prompts(self.prompts)
        check_number("hf_prompt.score", self.score, 0, 1)
        check_whole("hf_prompt.most", self.most, 1, 1000)
        check_whole("hf_prompt.longest", self.longest, 0, 1 << 15)
        model_type("hf_prompt", self.boxes, {"grounding-dino"})
        model_type("hf_prompt", self.masks, {"sam2", "sam2_video"})
        _ = self._how

    @cached_property
    def _how(self) -> tuple[Preprocess, Preprocess]:
        return preprocess("hf_prompt", self.boxes), preprocess("hf_prompt", self.masks)

    @property
    def view(self) -> Fit:
        return Fit(side=self.longest or 1 << 15, multiple=1, resample="area")

    @property
    def labels(self) -> tuple[str, ...]:
        return self.prompts

    @property
    def weights(self) -> tuple[Weights, ...]:
        return (*self.boxes.weights, *self.masks.weights)

    def load(self, device: Device, threads: int) -> HotPrompted:
        finder = pretrained("hf_prompt", self.boxes, "GroundingDinoForObjectDetection")
        cutter = pretrained("hf_prompt", self.masks, "Sam2Model")
        from pipeline.segment.torch_net import Net
        from pipeline.segment.torch_prompts import GroundedSamNet

        tokens = words("hf_prompt", self.boxes, [f"{prompt.lower()} ." for prompt in self.prompts])
        nets = (Net(finder, device, threads, self.run), Net(cutter, device, threads, self.run))
        return HotPrompted(GroundedSamNet(*nets, *self._how, tokens, self.score, self.most), self.prompts, self.masks)


class HotPrompted:
    def __init__(self, net: _Prompted, prompts: Sequence[str], model: Named) -> None:
        self._net, self._prompts, self._model = net, prompts, model

    def __call__(self, views: Sequence[View]) -> list[Segments]:
        tiles = [whole(view).pixels for view in views]
        sizes = [fit(view.height, view.width) for view in views]
        found = {
            position: mask_segments(masks, views[position], self._prompts, self._model)
            for position, masks in self._net.each(tiles, sizes)
        }
        return [found[position] for position in range(len(views))]


def _check_prompts(prompts: tuple[str, ...]) -> None:
    fine = bool(prompts) and all(isinstance(p, str) and p.strip() and "." not in p for p in prompts)
    if not fine or len(set(prompts)) != len(prompts):
        raise ConfigError(
            f"segment.hf_prompt.prompts: expected different words to look for, [license plate, person], got {prompts!r}"
        )
