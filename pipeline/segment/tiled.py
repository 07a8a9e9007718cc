"""Which class is each pixel of a large image? Logits of overlapping tiles, of several sizes and of mirror images,
blended.

A block of pixels is decided as soon as no tile to come shows it, so what is held is a tile, the overlap of two rows of
tiles, and two bytes a pixel: never the logits of the image.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import TypeAlias

import numpy as np
import torch

from pipeline.errors import ImageError
from pipeline.records import Rgb, Segments, Tile, View
from pipeline.segment.classes import ClassMap, class_segments, fit
from pipeline.segment.look import Look
from pipeline.segment.parts import Named, segment, whole
from pipeline.segment.preprocess import Preprocess
from pipeline.segment.torch_net import Net, enlarged, winners

Logits: TypeAlias = Callable[[torch.nn.Module, torch.Tensor], torch.Tensor]
"""(n, 3, h, w) to (n, classes, any height, any width)."""


class HotTiled:
    """One segment for each class that a network of classes sees, as `look` says it looks."""

    def __init__(
        self, net: Net, how: Preprocess, logits: Logits, look: Look, names: Sequence[str], model: Named
    ) -> None:
        self._net, self._how, self._logits = net, how, logits
        self._look, self._names, self._model = look, names, model

    def __call__(self, views: Sequence[View]) -> list[Segments]:
        return [self._one(view) for view in views]

    def _one(self, view: View) -> Segments:
        if len(view.tiles) > 1:
            return self._tiled(view)
        ((_, logits),) = self._seen([whole(view).pixels])
        found = winners(logits, fit(view.height, view.width))
        return class_segments(found, view, self._names, self._model)

    def _tiled(self, view: View) -> Segments:
        tops, lefts = _grid(view)
        seen = (logits for _, logits in self._seen([tile.pixels for tile in view.tiles]))
        tally = _Tally(view)
        for top, left, block in blended(seen, tops, lefts, view, self._look.overlap):
            tally.add(top, left, winners(block, (block.shape[1], block.shape[2])))
        return tally.segments(self._names, self._model)

    def _seen(self, tiles: Sequence[Rgb]) -> Iterator[tuple[int, torch.Tensor]]:
        """Position and logits (classes, h, w) of each tile, at the tile's own size, in order. All are of one size."""
        size = tiles[0].shape[:2]
        batch = self._net.options.batch
        for some, answers in self._net.sizes.each(
            range(len(tiles)), size, batch, lambda some: self._mean([tiles[position] for position in some])
        ):
            yield from zip(some, answers, strict=True)

    def _mean(self, tiles: Sequence[Rgb]) -> torch.Tensor:
        """(n, classes, h, w) of n tiles of h x w."""
        size = (tiles[0].shape[0], tiles[0].shape[1])
        looks = []
        for scale in self._look.scales:
            batch = self._net.stacked(tiles, _scaled(self._how, size, scale))
            looks += [(batch, False), (batch.flip(3), True)] if self._look.mirror else [(batch, False)]
        total = torch.zeros(())
        for number, (batch, mirrored) in enumerate(looks):
            answers = self._net.run(lambda module, batch=batch: self._logits(module, batch)).float()  # type: ignore[misc]
            answers = torch.stack([enlarged(answer.flip(2) if mirrored else answer, size) for answer in answers])
            total = answers if number == 0 else total.add_(answers)
        return total.div_(len(looks)) if len(looks) > 1 else total


def blended(
    logits: Iterator[torch.Tensor], tops: Sequence[int], lefts: Sequence[int], view: View, overlap: int
) -> Iterator[tuple[int, int, torch.Tensor]]:
    """Blocks that cover the view without gap or overlap: top, left and mean logits (classes, h, w).

    logits: (classes, side, side) of every tile, row by row; tops, lefts: where they begin. A tile counts less towards
    its edges, where it sees least of what is around: in proportion to the distance, as far as `overlap`.
    """
    high, wide = view.tiles[0].pixels.shape[:2]
    down, across = _weights(tops, high, view.height, overlap), _weights(lefts, wide, view.width, overlap)
    above = torch.zeros(())  # what earlier rows of tiles gave to this one: (classes, rows, width)
    for row, (top, below) in enumerate(pairwise((*tops, view.height))):
        ready = below - top
        kept = torch.zeros(())  # what this row gives to the next
        window = torch.zeros(())  # sums of the tile at hand
        for column, (left, right) in enumerate(pairwise((*lefts, view.width))):
            tile = next(logits)
            weight = torch.outer(down[row], across[column]).to(tile.device)
            if column == 0:
                window = torch.zeros_like(tile)
                kept = tile.new_zeros((len(tile), high - ready, view.width))
                entered = 0
            if row:
                window[:, : above.shape[1], entered:] += above[:, :, left + entered : left + wide]
            window += tile * weight
            done = right - left
            kept[:, :, left:right] = window[:, ready:, :done]
            yield top, left, window[:, :ready, :done]
            entered = wide - done
            window = torch.nn.functional.pad(window[:, :, done:], (0, done))
        above = kept


def _weights(starts: Sequence[int], side: int, length: int, overlap: int) -> list[torch.Tensor]:
    """(side,) for each tile along one axis; at every pixel those of all tiles add up to 1."""
    place = np.arange(side)
    slope = np.minimum(np.minimum(place + 1, side - place), max(1, overlap)).astype(np.float64)
    total = np.zeros(length)
    for start in starts:
        total[start : start + side] += slope
    return [torch.from_numpy((slope / total[start : start + side]).astype(np.float32)) for start in starts]


def _grid(view: View) -> tuple[list[int], list[int]]:
    """Where the rows and columns of tiles begin. Raises ImageError for tiles that are not `view.Tiles`."""
    tops, lefts = (sorted({int(tile.box[axis]) for tile in view.tiles}) for axis in (1, 0))
    high, wide = view.tiles[0].pixels.shape[:2]
    wanted = [(left, top, wide, high) for top in tops for left in lefts]
    if [_place(tile) for tile in view.tiles] != wanted or (tops[-1] + high, lefts[-1] + wide) != (
        view.height,
        view.width,
    ):
        raise ImageError("wrong_view", f"expected a grid of tiles, got {len(view.tiles)} in other places")
    return tops, lefts


def _place(tile: Tile) -> tuple[int, int, int, int]:
    return int(tile.box[0]), int(tile.box[1]), tile.pixels.shape[1], tile.pixels.shape[0]


def _scaled(how: Preprocess, size: tuple[int, int], scale: float) -> Preprocess:
    if scale == 1:
        return how
    high, wide = (max(1, round(side * scale)) for side in how.size(*size))
    return replace(how, height=high, width=wide, shortest=0, longest=0)


class _Tally:
    """The class of every pixel, and the sum of its probability over the pixels of each class."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._ids = np.zeros((view.height, view.width), np.uint16)
        self._pixels = np.zeros(1 << 16, np.int64)
        self._scores = np.zeros(1 << 16, np.float64)

    def add(self, top: int, left: int, found: ClassMap) -> None:
        ids = found.ids.ravel()
        self._ids[top : top + found.ids.shape[0], left : left + found.ids.shape[1]] = found.ids
        pixels = np.bincount(ids)
        self._pixels[: len(pixels)] += pixels
        self._scores[: len(pixels)] += np.bincount(ids, weights=found.scores.ravel())

    def segments(self, names: Sequence[str], model: Named) -> Segments:
        view, made = self._view, []
        for number in np.flatnonzero(self._pixels).tolist():
            if number < len(names) and names[number]:
                score = min(1.0, self._scores[number] / self._pixels[number])
                inside = self._ids == number
                made.append(
                    segment(inside, x=0, y=0, view=view, label=names[number], score=score, model=model, class_id=number)
                )
        return Segments(image_id=view.image_id, height=view.height, width=view.width, segments=tuple(made))
