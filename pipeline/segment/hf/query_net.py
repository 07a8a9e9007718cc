"""How the answers of a network of queries become classes or masks: per query a class and a mask, on the device."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, Protocol

import torch

from pipeline.models.prefetch import prefetch
from pipeline.models.torch_device import PendingArrays
from pipeline.records import Rgb
from pipeline.segment.shared.class_map import ClassMap, FoundMask
from pipeline.segment.shared.preprocess import Preprocess
from pipeline.segment.shared.torch_runner import Net, class_map, enlarged, finite

_AT_ONCE: Final = 8
"""Queries enlarged together: memory does not grow with their number."""


class Answers(Protocol):
    class_queries_logits: torch.Tensor
    masks_queries_logits: torch.Tensor


class QueryNet:
    """A network that answers with `class_queries_logits` (n, queries, classes + 1), the last class being none, and
    `masks_queries_logits` (n, queries, h, w)."""

    def __init__(self, net: Net, how: Preprocess, task: Sequence[int] = ()) -> None:
        """task: the tokens that tell a OneFormer what to answer; none for the others."""
        self._net, self._how = net, how
        self._task = torch.tensor([task], device=net.device) if task else None

    def classes(self, tiles: Sequence[Rgb], sizes: Sequence[tuple[int, int]]) -> Iterator[tuple[int, ClassMap]]:
        """Position of each tile and the best class at each pixel of a map of its size."""
        found = ((position, best_values(values, sizes[position])) for position, values in self._values(tiles))
        return prefetch(found, self._net.prefetch)

    def values(self, module: torch.nn.Module, batch: torch.Tensor) -> torch.Tensor:
        """(n, classes, h, w) of (n, 3, h, w): the sum over queries of their class's probability times their mask's, as
        in MaskFormer (arXiv:2107.06278, 3.4)."""
        answer = self._ask(module, batch)
        pairs = zip(answer.class_queries_logits.float(), answer.masks_queries_logits.float(), strict=True)
        return torch.stack([_values(logits, masks) for logits, masks in pairs])

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
            finite(logits, masks)
            likely, which = logits.softmax(-1).max(-1)
            sure = (which != logits.shape[-1] - 1) & (likely > score)
            kept = (masks[sure], likely[sure], which[sure].tolist(), sizes[position])
            yield position, list(_panoptic(*kept, mask, overlap, fused) if panoptic else _instances(*kept, mask))

    def _values(self, tiles: Sequence[Rgb]) -> Iterator[tuple[int, torch.Tensor]]:
        """Position of each tile and its classes' values (classes, h, w)."""
        if self._how.split:
            for position, tile in enumerate(tiles):
                yield position, self._joined(self._net.prepared(tile, self._how))
        else:
            for position, logits, masks in self._answers(tiles):
                yield position, _values(logits, masks)

    def _joined(self, image: torch.Tensor) -> torch.Tensor:
        """(classes, h, w) of an image (3, h, w) that is seen in squares along its longer side; the mean where they
        overlap."""
        side, long = min(image.shape[1:]), max(image.shape[1:])
        axis = 1 if image.shape[1] > image.shape[2] else 2
        starts = square_starts(long, side)
        total, count = torch.zeros(()), image.new_zeros(long)

        def answer(some: Sequence[int]) -> Answers:
            batch = torch.stack([image.narrow(axis, starts[square], side) for square in some])
            return self._net.run(lambda module: self._ask(module, batch))

        for some, found in self._net.sizes.each(range(len(starts)), (side, side), self._net.options.batch, answer):
            for square, logits, masks in zip(some, found.class_queries_logits, found.masks_queries_logits, strict=True):
                logits, masks = logits.float(), masks.float()
                finite(logits, masks)
                values = _values(logits, enlarged(masks, (side, side)))
                if not total.ndim:
                    total = values.new_zeros((len(values), *image.shape[1:]))
                total.narrow(axis, starts[square], side).add_(values)
                count[starts[square] : starts[square] + side] += 1
        return total / (count[:, None] if axis == 1 else count)

    def _answers(self, tiles: Sequence[Rgb]) -> Iterator[tuple[int, torch.Tensor, torch.Tensor]]:
        for positions, answer in self._net.answers(tiles, self._how, self._ask):
            pairs = zip(positions, answer.class_queries_logits, answer.masks_queries_logits, strict=True)
            for position, logits, masks in pairs:
                yield position, logits.float(), self._shown(masks.float(), tiles[position])

    def _shown(self, masks: torch.Tensor, tile: Rgb) -> torch.Tensor:
        """Without what shows nothing but the black beside the image."""
        seen = self._how.size(*tile.shape[:2])
        rows, columns = (
            max(1, round(side * part / max(part, self._how.pad)))
            for side, part in zip(masks.shape[1:], seen, strict=True)
        )
        return masks[:, :rows, :columns]

    def _ask(self, module: torch.nn.Module, batch: torch.Tensor) -> Answers:
        task_tokens = {} if self._task is None else {"task_inputs": self._task.expand(len(batch), -1)}
        answers: Answers = module(pixel_values=batch, **task_tokens)
        return answers


def square_starts(long: int, side: int) -> list[int]:
    """Where the squares that cover the longer side begin: as few as do, as EoMT's image processor places them."""
    count = -(-long // side)
    return [*(int(number * (long - side) / (count - 1)) for number in range(count - 1)), long - side]


def best_values(values: torch.Tensor, size: tuple[int, int]) -> PendingArrays[ClassMap]:
    """values: (classes, h, w). The best class at each pixel of `size`; its score is its share of all. The call raises
    ImageError (`nan_scores`)."""
    best, total = values.new_full(size, -torch.inf), values.new_zeros(size)
    ids = torch.zeros(size, dtype=torch.int32, device=values.device)
    for first in range(0, len(values), _AT_ONCE):
        large = enlarged(values[first : first + _AT_ONCE], size)
        top, which = large.max(0)
        ids = torch.where(top > best, which.int() + first, ids)
        best, total = torch.maximum(best, top), total + large.sum(0)
    return PendingArrays(class_map, torch.isfinite(values).all(), ids, best / total.clamp(min=1e-6))


def _values(logits: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """(classes, h, w) of the queries' classes (queries, classes + 1) and masks (queries, h, w); NaN when one of those
    is not finite: a mask of infinity would be as good as one of 1."""
    with torch.autocast(masks.device.type, enabled=False):  # float32: the best one may be best by little
        values = torch.einsum("qc,qhw->chw", logits.softmax(-1)[:, :-1], masks.sigmoid())
    fine = torch.isfinite(logits).all() & torch.isfinite(masks).all()
    return values.masked_fill(~fine, torch.nan)


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
