"""Classes of pixels in a sliding window: blended scores of overlapping tiles, scales and mirror images.

For networks of torch and of onnxruntime, behind `TileScorer`. A block of pixels is decided as soon as no later tile
shows it, so memory holds one tile, the overlap of two rows of tiles, and two bytes per pixel: never the scores of the
whole image.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

import numpy as np

from pipeline.errors import ImageError
from pipeline.models.prefetch import prefetch
from pipeline.records import Floats, Rgb, Segment, Segments, Tile, View
from pipeline.segment.shared.class_map import NO_CLASS, ClassMap, class_segments, fit
from pipeline.segment.shared.masks import HasTag, segment, whole
from pipeline.segment.shared.sliding_window import SlidingWindow

if TYPE_CHECKING:
    import torch

Planes = TypeVar("Planes", "torch.Tensor", Floats)
"""(classes, h, w) float32: scores that can be added up and divided."""


class TileScorer(Protocol[Planes]):
    """Scores tiles with a network, on the arrays that the network computes with. prefetch: answers to start before the
    first is waited for."""

    @property
    def prefetch(self) -> int: ...

    def scores(self, tiles: Sequence[Rgb]) -> Iterator[Planes]:
        """Yield the scores of each tile at the tile's own size, in order. All tiles have one size."""

    def best(self, planes: Planes, size: tuple[int, int]) -> Sequence[Callable[[], ClassMap]]:
        """The class at each pixel of `size` (height, width): one map, or a map for each class where they may overlap.
        The calls wait for the maps. This or the calls raise ImageError (`nan_scores`)."""

    def zeros(self, like: Planes, shape: tuple[int, ...]) -> Planes:
        """An array of zeros of the kind and on the device of `like`."""

    def moved(self, values: Floats, like: Planes) -> Planes:
        """The values as an array of the kind and on the device of `like`."""


class SlidingWindowModel(Generic[Planes]):
    """One segment for each class present, by a network of classes in a sliding window."""

    def __init__(
        self, scorer: TileScorer[Planes], sliding_window: SlidingWindow, names: Sequence[str], model: HasTag
    ) -> None:
        self._scorer: TileScorer[Planes] = scorer
        self._sliding_window, self._names, self._model = sliding_window, names, model

    def __call__(self, views: Sequence[View]) -> list[Segments]:
        return [self._one(view) for view in views]

    def _one(self, view: View) -> Segments:
        found = self._tiled(view) if len(view.tiles) > 1 else self._whole(view)
        return Segments(image_id=view.image_id, height=view.height, width=view.width, segments=tuple(found))

    def _whole(self, view: View) -> Iterator[Segment]:
        (planes,) = self._scorer.scores([whole(view).pixels])
        for found in self._scorer.best(planes, fit(view.height, view.width)):
            yield from class_segments(found(), view, self._names, self._model).segments

    def _tiled(self, view: View) -> Iterator[Segment]:
        tops, lefts = _grid(view)
        scores = self._scorer.scores([tile.pixels for tile in view.tiles])
        tallies: list[_Tally] = []
        blocks = blend_tiles(self._scorer, scores, tops, lefts, view, self._sliding_window.overlap)
        started = (
            ((number, top, left), found)
            for top, left, block in blocks
            for number, found in enumerate(self._scorer.best(block, (block.shape[1], block.shape[2])))
        )
        for (number, top, left), found in prefetch(started, self._scorer.prefetch):
            if number == len(tallies):
                tallies.append(_Tally(view))
            tallies[number].add(top, left, found)
        for tally in tallies:
            yield from tally.segments(self._names, self._model)


def blend_tiles(
    scorer: TileScorer[Planes],
    scores: Iterator[Planes],
    tops: Sequence[int],
    lefts: Sequence[int],
    view: View,
    overlap: int,
) -> Iterator[tuple[int, int, Planes]]:
    """Yield blocks that cover the view without gap or overlap: top, left and mean scores (classes, h, w).

    scores: (classes, side, side) of every tile, row by row; tops, lefts: where they begin. The weight of a tile falls
    towards its edges, where it shows the least context: in proportion to the distance, within `overlap`.
    """
    high, wide = view.tiles[0].pixels.shape[:2]
    down, across = _weights(tops, high, view.height, overlap), _weights(lefts, wide, view.width, overlap)
    above: Planes | None = None  # sums of earlier rows of tiles over this one: (classes, rows, width)
    for row, (top, below) in enumerate(pairwise((*tops, view.height))):
        ready = below - top
        kept: Planes | None = None  # sums of this row over the next one
        window: Planes | None = None  # sums over the current tile
        entered = 0  # columns of it that hold sums of the tile before
        for column, (left, right) in enumerate(pairwise((*lefts, view.width))):
            tile = next(scores)
            if window is None or kept is None:
                window = scorer.zeros(tile, tuple(tile.shape))
                kept = scorer.zeros(tile, (len(tile), high - ready, view.width))
            if above is not None:
                window[:, : above.shape[1], entered:] += above[:, :, left + entered : left + wide]
            window += tile * scorer.moved(np.outer(down[row], across[column]), tile)
            done = right - left
            kept[:, :, left:right] = window[:, ready:, :done]
            yield top, left, window[:, :ready, :done]
            entered = wide - done
            rest = scorer.zeros(tile, tuple(tile.shape))
            rest[:, :, :entered] = window[:, :, done:]
            window = rest
        above = kept


def _weights(starts: Sequence[int], side: int, length: int, overlap: int) -> list[Floats]:
    """Weights (side,) of each tile along one axis; at every pixel the weights of all tiles add up to 1."""
    place = np.arange(side)
    slope = np.minimum(np.minimum(place + 1, side - place), max(1, overlap)).astype(np.float64)
    total = np.zeros(length)
    for start in starts:
        total[start : start + side] += slope
    return [(slope / total[start : start + side]).astype(np.float32) for start in starts]


def _grid(view: View) -> tuple[list[int], list[int]]:
    """First pixels of the rows and of the columns of tiles. Raises ImageError for tiles that are not `view.Tiles`."""
    tops, lefts = (sorted({int(tile.box[axis]) for tile in view.tiles}) for axis in (1, 0))
    high, wide = view.tiles[0].pixels.shape[:2]
    expected = [(left, top, wide, high) for top in tops for left in lefts]
    if [_place(tile) for tile in view.tiles] != expected or (tops[-1] + high, lefts[-1] + wide) != (
        view.height,
        view.width,
    ):
        raise ImageError("wrong_view", f"expected a grid of tiles, got {len(view.tiles)} in other places")
    return tops, lefts


def _place(tile: Tile) -> tuple[int, int, int, int]:
    return int(tile.box[0]), int(tile.box[1]), tile.pixels.shape[1], tile.pixels.shape[0]


class _Tally:
    """The class of every pixel, and the sum of its probability over the pixels of each class."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._ids = np.full((view.height, view.width), NO_CLASS, np.uint16)
        self._pixels = np.zeros(NO_CLASS, np.int64)
        self._scores = np.zeros(NO_CLASS, np.float64)

    def add(self, top: int, left: int, found: ClassMap) -> None:
        known = found.ids >= 0
        block = self._ids[top : top + found.ids.shape[0], left : left + found.ids.shape[1]]
        block[known] = found.ids[known]
        pixels = np.bincount(found.ids[known])
        self._pixels[: len(pixels)] += pixels
        self._scores[: len(pixels)] += np.bincount(found.ids[known], weights=found.scores[known])

    def segments(self, names: Sequence[str], model: HasTag) -> Iterator[Segment]:
        for number in np.flatnonzero(self._pixels).tolist():
            if number < len(names) and names[number]:
                score = min(1.0, self._scores[number] / self._pixels[number])
                inside = self._ids == number
                yield segment(
                    inside, x=0, y=0, view=self._view, label=names[number], score=score, model=model, class_id=number
                )
