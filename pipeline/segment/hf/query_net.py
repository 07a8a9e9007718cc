"""Classes or masks from networks of queries, which answer with a class and a mask per query; on the device."""

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
"""Classes enlarged together, so that memory does not grow with their number."""


class Answers(Protocol):
    """(n, queries, classes + 1), the last class for none; (n, queries, h, w)."""

    class_queries_logits: torch.Tensor
    masks_queries_logits: torch.Tensor


class QueryNet:
    """A network that gives `Answers`. task: the tokens of a OneFormer's task; () for other networks."""

    def __init__(self, net: Net, how: Preprocess, task: Sequence[int] = ()) -> None:
        self._net, self._how = net, how
        self._task = torch.tensor([task], device=net.device) if task else None

    def classes(self, tiles: Sequence[Rgb], sizes: Sequence[tuple[int, int]]) -> Iterator[tuple[int, ClassMap]]:
        """Yield the position of each tile and the best class at each pixel of a map of its size."""
        found = ((position, best_values(values, sizes[position])) for position, values in self._values(tiles))
        return prefetch(found, self._net.prefetch)

    def values(self, module: torch.nn.Module, batch: torch.Tensor) -> torch.Tensor:
        """Scores (n, classes, h, w) of (n, 3, h, w): the sum over queries of their class probability times their mask
        probability, as in MaskFormer (arXiv:2107.06278, 3.4)."""
        answer = self._call(module, batch)
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
        """Yield the position of each tile and its masks, of its size. Without `panoptic` they may overlap."""
        for position, logits, masks in self._answers(tiles):
            finite(logits, masks)
            likely, which = logits.softmax(-1).max(-1)
            passed = (which != logits.shape[-1] - 1) & (likely > score)
            kept = (masks[passed], likely[passed], which[passed].tolist(), sizes[position])
            yield position, list(_panoptic(*kept, mask, overlap, fused) if panoptic else _instances(*kept, mask))

    def _values(self, tiles: Sequence[Rgb]) -> Iterator[tuple[int, torch.Tensor]]:
        """Yield the position of each tile and its scores (classes, h, w)."""
        if self._how.split:
            for position, tile in enumerate(tiles):
                yield position, self._joined(self._net.prepared(tile, self._how))
        else:
            for position, logits, masks in self._answers(tiles):
                yield position, _values(logits, masks)

    def _joined(self, image: torch.Tensor) -> torch.Tensor:
        """Scores (classes, h, w) of an image (3, h, w) seen in squares along its longer side; their mean where squares
        overlap."""
        side, long = min(image.shape[1:]), max(image.shape[1:])
        axis = 1 if image.shape[1] > image.shape[2] else 2
        starts = square_starts(long, side)
        total, count = torch.zeros(()), image.new_zeros(long)

        def answer(some: Sequence[int]) -> Answers:
            batch = torch.stack([image.narrow(axis, starts[square], side) for square in some])
            return self._net.run(lambda module: self._call(module, batch))

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
        for positions, answer in self._net.answers(tiles, self._how, self._call):
            pairs = zip(positions, answer.class_queries_logits, answer.masks_queries_logits, strict=True)
            for position, logits, masks in pairs:
                yield position, logits.float(), self._unpadded(masks.float(), tiles[position])

    def _unpadded(self, masks: torch.Tensor, tile: Rgb) -> torch.Tensor:
        """Masks (queries, h, w) without the part that shows padding."""
        seen = self._how.size(*tile.shape[:2])
        rows, columns = (
            max(1, round(side * part / max(part, self._how.pad)))
            for side, part in zip(masks.shape[1:], seen, strict=True)
        )
        return masks[:, :rows, :columns]

    def _call(self, module: torch.nn.Module, batch: torch.Tensor) -> Answers:
        task_tokens = {} if self._task is None else {"task_inputs": self._task.expand(len(batch), -1)}
        answers: Answers = module(pixel_values=batch, **task_tokens)
        return answers


def square_starts(long: int, side: int) -> list[int]:
    """First pixels of the fewest squares that cover the longer side, placed as by EoMT's image processor."""
    count = -(-long // side)
    return [*(int(number * (long - side) / (count - 1)) for number in range(count - 1)), long - side]


def best_values(values: torch.Tensor, size: tuple[int, int]) -> PendingArrays[ClassMap]:
    """The best class at each pixel of `size` (height, width); its score is its share of the sum over classes.

    values: (classes, h, w). The call of the result raises ImageError (`nan_scores`).
    """
    best, total = values.new_full(size, -torch.inf), values.new_zeros(size)
    ids = torch.zeros(size, dtype=torch.int32, device=values.device)
    for first in range(0, len(values), _AT_ONCE):
        large = enlarged(values[first : first + _AT_ONCE], size)
        top, which = large.max(0)
        ids = torch.where(top > best, which.int() + first, ids)
        best, total = torch.maximum(best, top), total + large.sum(0)
    return PendingArrays(class_map, torch.isfinite(values).all(), ids, best / total.clamp(min=1e-6))


def _values(logits: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """Scores (classes, h, w) of the queries' class logits (queries, classes + 1) and mask logits (queries, h, w); NaN
    when a logit is not finite: the sigmoid turns infinity into a valid probability."""
    with torch.autocast(masks.device.type, enabled=False):  # float32: the best class may win by little
        values = torch.einsum("qc,qhw->chw", logits.softmax(-1)[:, :-1], masks.sigmoid())
    fine = torch.isfinite(logits).all() & torch.isfinite(masks).all()
    return values.masked_fill(~fine, torch.nan)


def _instances(
    masks: torch.Tensor, likely: torch.Tensor, classes: list[int], size: tuple[int, int], threshold: float
) -> Iterator[FoundMask]:
    """One mask per query; its score is its class probability times the mean mask probability inside."""
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
    """Each pixel goes to the query of the highest class times mask probability if that query's mask covers the pixel,
    as in Mask2Former's own code; in transformers it goes to that query either way."""
    best = masks.new_full(size, -torch.inf)
    owner = torch.full(size, -1, dtype=torch.int32, device=masks.device)
    there = torch.zeros(size, dtype=torch.bool, device=masks.device)  # the owner's mask covers the pixel
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
