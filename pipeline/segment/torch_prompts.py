"""How networks of words and images find masks: CLIPSeg; Grounding DINO and SAM 2. On the device."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Protocol

import torch

from pipeline.records import Rgb
from pipeline.segment.classes import FoundMask
from pipeline.segment.preprocess import Preprocess
from pipeline.segment.torch_net import Net, enlarged, finite


class ClipSegNet:
    """Every prompt with every image. tokens: of each prompt."""

    def __init__(self, net: Net, how: Preprocess, tokens: Sequence[Sequence[int]], score: float) -> None:
        self._net, self._how, self._score = net, how, score
        longest = max(map(len, tokens))
        # What a shorter prompt is filled up with is its own last token, and hidden from the attention.
        self._words = torch.tensor([[*one, *[one[-1]] * (longest - len(one))] for one in tokens], device=net.device)
        shown = [[1] * len(one) + [0] * (longest - len(one)) for one in tokens]
        self._shown = torch.tensor(shown, device=net.device)

    def each(self, tiles: Sequence[Rgb], sizes: Sequence[tuple[int, int]]) -> Iterator[tuple[int, list[FoundMask]]]:
        for positions, batch in self._net.batches(tiles, self._how):
            for position, image in zip(positions, batch, strict=True):
                images = image.expand(len(self._words), *image.shape)
                logits = self._net.run(partial(self._ask, images=images)).float()
                finite(logits)
                yield position, list(self._masks(logits.reshape(len(images), *logits.shape[-2:]), sizes[position]))

    def _ask(self, module: torch.nn.Module, images: torch.Tensor) -> torch.Tensor:
        answer: torch.Tensor = module(input_ids=self._words, attention_mask=self._shown, pixel_values=images).logits
        return answer

    def _masks(self, logits: torch.Tensor, size: tuple[int, int]) -> Iterator[FoundMask]:
        for prompt, plane in enumerate(logits):
            likely = enlarged(plane[None], size)[0].sigmoid()
            inside = likely >= self._score
            if bool(inside.any()):
                yield FoundMask(inside=inside.cpu().numpy(), class_id=prompt, score=float(likely[inside].mean()))


class Boxes(Protocol):
    """logits: (1, queries, tokens). pred_boxes: (1, queries, 4), the middle, width and height in shares of the
    image."""

    logits: torch.Tensor
    pred_boxes: torch.Tensor


class Masks(Protocol):
    """pred_masks: (1, boxes, 1, h, w) logits."""

    pred_masks: torch.Tensor


class GroundedSamNet:
    """Boxes of the prompts, then the masks in them. tokens: of each prompt, with the full stop that ends it."""

    def __init__(
        self,
        finder: Net,
        cutter: Net,
        see: Preprocess,
        cut: Preprocess,
        tokens: Sequence[Sequence[int]],
        score: float,
        most: int,
    ) -> None:
        self._finder, self._cutter, self._see, self._cut = finder, cutter, see, cut
        self._score, self._most = score, most
        # One sentence of all prompts, between the tokens that begin and end each; and where each prompt's words are.
        sentence, self._spans = [tokens[0][0]], []
        for one in tokens:
            self._spans.append((len(sentence), len(sentence) + len(one) - 3))  # without begin, full stop and end
            sentence += one[1:-1]
        self._words = torch.tensor([[*sentence, tokens[0][-1]]], device=finder.device)

    def each(self, tiles: Sequence[Rgb], sizes: Sequence[tuple[int, int]]) -> Iterator[tuple[int, list[FoundMask]]]:
        for position, tile in enumerate(tiles):
            yield position, list(self._masks(tile, sizes[position]))

    def _masks(self, tile: Rgb, size: tuple[int, int]) -> Iterator[FoundMask]:
        boxes, scores, prompts = self._boxes(tile)
        if not len(boxes):
            return
        image = self._cutter.prepared(tile, self._cut)[None]
        height, width = image.shape[2:]
        corners = boxes * boxes.new_tensor([width, height, width, height])
        answer = self._cutter.run(partial(_cut_out, image=image, boxes=corners[None]))
        logits = answer.pred_masks[0, :, 0].float()
        finite(logits)
        for plane, score, prompt in zip(logits, scores.tolist(), prompts.tolist(), strict=True):
            inside = enlarged(plane[None], size)[0] > 0
            if bool(inside.any()):
                yield FoundMask(inside=inside.cpu().numpy(), class_id=prompt, score=score)

    def _boxes(self, tile: Rgb) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """(n, 4) left, top, right, bottom in shares of the image, their scores and prompts, best first."""
        image = self._finder.prepared(tile, self._see)[None]
        answer = self._finder.run(partial(self._find, image=image))
        boxes = answer.pred_boxes[0].float()
        # What lies past the sentence is minus infinity, and nothing of ours.
        tokens = answer.logits[0, :, : self._words.shape[1]].float()
        likely = torch.stack([tokens[:, start:stop].sigmoid().amax(1) for start, stop in self._spans], dim=1)
        finite(boxes, likely)
        scores, prompts = likely.max(1)
        order = scores.argsort(descending=True, stable=True)[: self._most]
        order = order[scores[order] > self._score]
        middle, side = boxes[order, :2], boxes[order, 2:]
        corners = torch.cat([middle - side / 2, middle + side / 2], dim=1).clamp(0, 1)
        return corners, scores[order], prompts[order]

    def _find(self, module: torch.nn.Module, image: torch.Tensor) -> Boxes:
        answer: Boxes = module(
            pixel_values=image, input_ids=self._words, attention_mask=torch.ones_like(self._words),
            token_type_ids=torch.zeros_like(self._words),
        )  # fmt: skip
        return answer


def _cut_out(module: torch.nn.Module, image: torch.Tensor, boxes: torch.Tensor) -> Masks:
    answer: Masks = module(pixel_values=image, input_boxes=boxes, multimask_output=False)
    return answer
