"""Masks by networks of text and images, on the device: CLIPSeg; Grounding DINO and SAM 2; SAM 3."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Protocol, cast

import torch

from pipeline.models.torch_device import PendingArrays
from pipeline.records import Rgb
from pipeline.segment.shared.class_map import ClassMap, FoundMask
from pipeline.segment.shared.preprocess import Preprocess
from pipeline.segment.shared.torch_runner import Net, class_map, enlarged, finite


class ClipSegNet:
    """CLIPSeg: every prompt with every image. tokens: of each prompt. score: minimum probability of a pixel inside."""

    def __init__(self, net: Net, how: Preprocess, tokens: Sequence[Sequence[int]], score: float) -> None:
        self._net, self._how, self._score = net, how, score
        longest = max(map(len, tokens))
        # A shorter prompt is filled up with its own last token, hidden from the attention.
        self._tokens = torch.tensor([[*one, *[one[-1]] * (longest - len(one))] for one in tokens], device=net.device)
        shown = [[1] * len(one) + [0] * (longest - len(one)) for one in tokens]
        self._shown = torch.tensor(shown, device=net.device)

    def each(self, tiles: Sequence[Rgb], sizes: Sequence[tuple[int, int]]) -> Iterator[tuple[int, list[FoundMask]]]:
        for positions, batch in self._net.batches(tiles, self._how):
            for position, image in zip(positions, batch, strict=True):
                images = image.expand(len(self._tokens), *image.shape)
                logits = self._net.run(partial(self._call, images=images)).float()
                finite(logits)
                yield position, list(self._masks(logits.reshape(len(images), *logits.shape[-2:]), sizes[position]))

    def logits(self, module: torch.nn.Module, batch: torch.Tensor) -> torch.Tensor:
        """Logits (n, prompts, h, w) of (n, 3, h, w)."""
        answers = [self._call(module, image.expand(len(self._tokens), *image.shape)) for image in batch]
        return torch.stack([one.reshape(len(self._tokens), *one.shape[-2:]) for one in answers])

    def maps(self, logits: torch.Tensor, size: tuple[int, int]) -> list[PendingArrays[ClassMap]]:
        """One map per prompt from blended logits (prompts, h, w): prompts may overlap."""
        fine, found = torch.isfinite(logits).all(), []
        for prompt, plane in enumerate(logits):
            likely = enlarged(plane[None], size)[0].sigmoid()
            ids = torch.where(likely >= self._score, prompt, -1).int()
            found.append(PendingArrays(class_map, fine, ids, likely))
        return found

    def _call(self, module: torch.nn.Module, images: torch.Tensor) -> torch.Tensor:
        answer: torch.Tensor = module(input_ids=self._tokens, attention_mask=self._shown, pixel_values=images).logits
        return answer

    def _masks(self, logits: torch.Tensor, size: tuple[int, int]) -> Iterator[FoundMask]:
        for prompt, plane in enumerate(logits):
            likely = enlarged(plane[None], size)[0].sigmoid()
            inside = likely >= self._score
            if bool(inside.any()):
                yield FoundMask(inside=inside.cpu().numpy(), class_id=prompt, score=float(likely[inside].mean()))


class Boxes(Protocol):
    """Answer of Grounding DINO. logits: (1, queries, tokens). pred_boxes: (1, queries, 4), centre x and y, width and
    height as shares of the image."""

    logits: torch.Tensor
    pred_boxes: torch.Tensor


class Masks(Protocol):
    """Answer of SAM 2. pred_masks: (1, boxes, 1, h, w) logits."""

    pred_masks: torch.Tensor


class GroundedSamNet:
    """Boxes of the prompts, then the masks in them. tokens: of each prompt, with the full stop at its end."""

    def __init__(
        self,
        finder: Net,
        cutter: Net,
        finder_how: Preprocess,
        cutter_how: Preprocess,
        tokens: Sequence[Sequence[int]],
        score: float,
        max_detections: int,
    ) -> None:
        self._finder, self._cutter, self._finder_how, self._cutter_how = finder, cutter, finder_how, cutter_how
        self._score, self._max_detections = score, max_detections
        # One sentence of all prompts, between the tokens that begin and end a text; and the place of each prompt in it.
        sentence, self._spans = [tokens[0][0]], []
        for one in tokens:
            self._spans.append((len(sentence), len(sentence) + len(one) - 3))  # without begin, full stop and end
            sentence += one[1:-1]
        self._tokens = torch.tensor([[*sentence, tokens[0][-1]]], device=finder.device)

    def each(self, tiles: Sequence[Rgb], sizes: Sequence[tuple[int, int]]) -> Iterator[tuple[int, list[FoundMask]]]:
        for position, tile in enumerate(tiles):
            yield position, list(self._masks(tile, sizes[position]))

    def _masks(self, tile: Rgb, size: tuple[int, int]) -> Iterator[FoundMask]:
        boxes, scores, prompts = self._boxes(tile)
        if not len(boxes):
            return
        image = self._cutter.prepared(tile, self._cutter_how)[None]
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
        """Boxes (n, 4), left, top, right, bottom as shares of the image, with their scores and prompts, best first."""
        image = self._finder.prepared(tile, self._finder_how)[None]
        answer = self._finder.run(partial(self._find, image=image))
        boxes = answer.pred_boxes[0].float()
        # Behind the sentence the logits are minus infinity.
        tokens = answer.logits[0, :, : self._tokens.shape[1]].float()
        likely = torch.stack([tokens[:, start:stop].sigmoid().amax(1) for start, stop in self._spans], dim=1)
        finite(boxes, likely)
        scores, prompts = likely.max(1)
        order = scores.argsort(descending=True, stable=True)[: self._max_detections]
        order = order[scores[order] > self._score]
        middle, side = boxes[order, :2], boxes[order, 2:]
        corners = torch.cat([middle - side / 2, middle + side / 2], dim=1).clamp(0, 1)
        return corners, scores[order], prompts[order]

    def _find(self, module: torch.nn.Module, image: torch.Tensor) -> Boxes:
        answer: Boxes = module(
            pixel_values=image, input_ids=self._tokens, attention_mask=torch.ones_like(self._tokens),
            token_type_ids=torch.zeros_like(self._tokens),
        )  # fmt: skip
        return answer


def _cut_out(module: torch.nn.Module, image: torch.Tensor, boxes: torch.Tensor) -> Masks:
    answer: Masks = module(pixel_values=image, input_boxes=boxes, multimask_output=False)
    return answer


class Concepts(Protocol):
    """Answer of SAM 3 for one image and one prompt. pred_logits: (1, queries). presence_logits: (1, 1), whether the
    prompt is in the image at all. pred_masks: (1, queries, h, w) logits."""

    pred_logits: torch.Tensor
    presence_logits: torch.Tensor
    pred_masks: torch.Tensor


class Sam3(Protocol):
    """The used part of transformers' Sam3Model: features of images and of texts, each computed once."""

    def get_text_features(self, *, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> object: ...
    def get_vision_features(self, *, pixel_values: torch.Tensor) -> object: ...
    def __call__(self, *, vision_embeds: object, text_embeds: object, attention_mask: torch.Tensor) -> Concepts: ...


class Sam3Net:
    """SAM 3: a mask for each object that a prompt names. tokens: of each prompt."""

    def __init__(
        self, net: Net, how: Preprocess, tokens: Sequence[Sequence[int]], score: float, mask: float, max_detections: int
    ) -> None:
        self._net, self._how = net, how
        self._score, self._mask, self._max_detections = score, mask, max_detections
        texts = [torch.tensor([one], device=net.device) for one in tokens]
        self._texts = [(net.run(partial(_text_features, tokens=one)), torch.ones_like(one)) for one in texts]

    def each(self, tiles: Sequence[Rgb], sizes: Sequence[tuple[int, int]]) -> Iterator[tuple[int, list[FoundMask]]]:
        for position, tile in enumerate(tiles):
            yield position, list(self._masks(tile, sizes[position]))

    def _masks(self, tile: Rgb, size: tuple[int, int]) -> Iterator[FoundMask]:
        """The masks of the best scores of all prompts, best first; of equal scores, the earlier prompt's."""
        for score, prompt, plane in sorted(self._candidates(tile), key=lambda one: -one[0])[: self._max_detections]:
            inside = enlarged(plane.sigmoid()[None], size)[0] > self._mask
            if bool(inside.any()):
                yield FoundMask(inside=inside.cpu().numpy(), class_id=prompt, score=score)

    def _candidates(self, tile: Rgb) -> Iterator[tuple[float, int, torch.Tensor]]:
        """Score, prompt and logits (h, w) of each query above the minimum score."""
        image = self._net.prepared(tile, self._how)[None]
        seen = self._net.run(partial(_image_features, image=image))
        for prompt, (text, shown) in enumerate(self._texts):
            answer = self._net.run(partial(_concepts, seen=seen, text=text, shown=shown))
            likely = answer.pred_logits[0].float().sigmoid() * answer.presence_logits[0].float().sigmoid()
            finite(likely)
            passed = likely > self._score
            planes = answer.pred_masks[0, passed].float()
            finite(planes)
            yield from zip(likely[passed].tolist(), [prompt] * len(planes), planes, strict=True)


def _text_features(module: torch.nn.Module, tokens: torch.Tensor) -> object:
    return cast("Sam3", module).get_text_features(input_ids=tokens, attention_mask=torch.ones_like(tokens))


def _image_features(module: torch.nn.Module, image: torch.Tensor) -> object:
    return cast("Sam3", module).get_vision_features(pixel_values=image)


def _concepts(module: torch.nn.Module, seen: object, text: object, shown: torch.Tensor) -> Concepts:
    return cast("Sam3", module)(vision_embeds=seen, text_embeds=text, attention_mask=shown)
