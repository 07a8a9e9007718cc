"""How the answers of a network of queries become classes or masks: per query a class and a mask, on the device."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, Protocol

import torch

from pipeline.records import Rgb
from pipeline.segment.classes import ClassMap, FoundMask
from pipeline.segment.preprocess import Preprocess
from pipeline.segment.torch_net import Net, enlarged, finite

_AT_ONCE: Final = 8
"""Queries enlarged together: memory does not grow with their number."""


class Answers(Protocol):
    class_queries_logits: torch.Tensor
    masks_queries_logits: torch.Tensor


class QueryNet:
    """A network that answers with `class_queries_logits` (n, queries, classes + 1), the last class being none, and
    `masks_queries_logits` (n, queries, h, w)."""

    def __init__(self, net: Net, how: Preprocess) -> None:
        self._net, self._how = net, how

    def classes(self, tiles: Sequence[Rgb], sizes: Sequence[tuple[int, int]]) -> Iterator[tuple[int, ClassMap]]:
        """Position of each tile and the best class at each pixel of a map of its size. A class's value is the sum over
        queries of its probability times their masks', as in MaskFormer (arXiv:2107.06278, 3.4); its score is its share
        of that of all classes."""
        for position, logits, masks in self._answers(tiles):
            values = torch.einsum("qc,qhw->chw", logits.softmax(-1)[:, :-1], masks.sigmoid())
            size = sizes[position]
            best, total = values.new_full(size, -torch.inf), values.new_zeros(size)
            ids = torch.zeros(size, dtype=torch.int32, device=values.device)
            for first in range(0, len(values), _AT_ONCE):
                large = enlarged(values[first : first + _AT_ONCE], size)
                top, which = large.max(0)
                ids = torch.where(top > best, which.int() + first, ids)
                best, total = torch.maximum(best, top), total + large.sum(0)
            score = best / total.clamp(min=1e-6)
            yield position, ClassMap(ids=ids.cpu().numpy(), scores=score.cpu().numpy())

    def masks(
        self,
        tiles: Sequence[Rgb],
        sizes: Sequence[tuple[int, int]],
        *,
        panoptic: bool,
        score: float,
        mask: float,
        overlap: float,
        fused: frozenset[int],
    ) -> Iterator[tuple[int, list[FoundMask]]]:
        """Position of each tile and its masks, of its size. Without `panoptic` they may overlap."""
        for position, logits, masks in self._answers(tiles):
            likely, which = logits.softmax(-1).max(-1)
            sure = (which != logits.shape[-1] - 1) & (likely > score)
            kept = (masks[sure], likely[sure], which[sure].tolist(), sizes[position])
            yield position, list(_panoptic(*kept, mask, overlap, fused) if panoptic else _instances(*kept, mask))

    def _answers(self, tiles: Sequence[Rgb]) -> Iterator[tuple[int, torch.Tensor, torch.Tensor]]:
        for positions, answer in self._net.answers(tiles, self._how, _ask):
            pairs = zip(positions, answer.class_queries_logits, answer.masks_queries_logits, strict=True)
            for position, logits, masks in pairs:
                logits, masks = logits.float(), masks.float()
                finite(logits, masks)
                yield position, logits, self._shown(masks, tiles[position])

    def _shown(self, masks: torch.Tensor, tile: Rgb) -> torch.Tensor:
        """Without what shows nothing but the black beside the image."""
        seen = self._how.size(*tile.shape[:2])
        rows, columns = (
            max(1, round(side * part / max(part, self._how.pad)))
            for side, part in zip(masks.shape[1:], seen, strict=True)
        )
        return masks[:, :rows, :columns]


def _ask(module: torch.nn.Module, batch: torch.Tensor) -> Answers:
    answers: Answers = module(pixel_values=batch)
    return answers


def _instances(
    masks: torch.Tensor, likely: torch.Tensor, classes: list[int], size: tuple[int, int], threshold: float
) -> Iterator[FoundMask]:
    """One mask a query; its score is its class's probability times the mean probability inside."""
    for logits, chance, number in zip(masks, likely, classes, strict=True):
        probability = enlarged(logits[None], size)[0].sigmoid()
        inside = probability >= threshold
        if bool(inside.any()):
            score = float(chance * probability[inside].mean())
            yield FoundMask(inside=inside.cpu().numpy(), class_id=number, score=score)


def _panoptic(
    masks: torch.Tensor,
    likely: torch.Tensor,
    classes: list[int],
    size: tuple[int, int],
    threshold: float,
    overlap: float,
    fused: frozenset[int],
) -> Iterator[FoundMask]:
    """Each pixel to the query of the highest class times mask probability, if that query's mask covers it at all (so in
    Mask2Former's own code; transformers gives it the pixel all the same)."""
    best = masks.new_full(size, -torch.inf)
    owner = torch.full(size, -1, dtype=torch.int32, device=masks.device)
    there = torch.zeros(size, dtype=torch.bool, device=masks.device)  # the owner's own mask covers the pixel
    areas = []
    for query, (logits, chance) in enumerate(zip(masks, likely, strict=True)):
        probability = enlarged(logits[None], size)[0].sigmoid()
        inside = probability >= threshold
        areas.append(int(inside.sum()))
        won = probability * chance > best
        best = torch.where(won, probability * chance, best)
        owner = torch.where(won, query, owner)
        there = torch.where(won, inside, there)
    together: dict[int, FoundMask] = {}
    for query, number in enumerate(classes):
        won = owner == query
        mine = won & there
        if not bool(mine.any()) or int(won.sum()) <= overlap * areas[query]:
            continue
        found = FoundMask(inside=mine.cpu().numpy(), class_id=number, score=float(likely[query]))
        if number in fused and number in together:
            before = together[number]
            found = FoundMask(
                inside=before.inside | found.inside, class_id=number, score=max(before.score, found.score)
            )
        if number in fused:
            together[number] = found
        else:
            yield found
    yield from together.values()
