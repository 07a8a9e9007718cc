"""Which class is each pixel of a large image? Scores of overlapping tiles, of several sizes and of mirror images,
blended. For networks of torch and of onnxruntime: what computes with either is behind `Eyes`.

A block of pixels is decided as soon as no tile to come shows it, so what is held is a tile, the overlap of two rows of
tiles, and two bytes a pixel: never the scores of the image.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Final, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ImageError
from pipeline.models.prefetch import prefetch
from pipeline.records import Rgb, Segment, Segments, Tile, View
from pipeline.segment.shared.class_map import ClassMap, class_segments, fit
from pipeline.segment.shared.fields import HasTag, segment, whole
from pipeline.segment.shared.sliding_window import SlidingWindow

if TYPE_CHECKING:
    import torch

Planes = TypeVar("Planes", "torch.Tensor", NDArray[np.float32])
"""(classes, h, w) float32: scores that may be added up and divided."""

_NONE: Final = (1 << 16) - 1
"""No class of any pixel; classes.check_names allows fewer."""


class TileScorer(Protocol[Planes]):
    """A network, and the arrays that it computes with. ahead: answers that it may be started on before the first is
    waited for."""

    @property
    def prefetch(self) -> int: ...

    def seen(self, tiles: Sequence[Rgb]) -> Iterator[Planes]:
        """The scores of each tile at the tile's own size, in order. All are of one size."""

    def best(self, planes: Planes, size: tuple[int, int]) -> Sequence[Callable[[], ClassMap]]:
        """What is at each pixel of `size`: one map of classes, or one for each of those that exclude no other. The
        calls wait for them. Raises ImageError (`nan_scores`), or they do."""

    def zeros(self, like: Planes, shape: tuple[int, ...]) -> Planes:
        """Of the kind and on the device of `like`."""

    def moved(self, values: NDArray[np.float32], like: Planes) -> Planes:
        """The values, of the kind and on the device of `like`."""


class SlidingWindowModel(Generic[Planes]):
    """One segment for each class that a network of classes sees, as `look` says it looks."""

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
        (planes,) = self._scorer.seen([whole(view).pixels])
        for found in self._scorer.best(planes, fit(view.height, view.width)):
            yield from class_segments(found(), view, self._names, self._model).segments

    def _tiled(self, view: View) -> Iterator[Segment]:
        tops, lefts = _grid(view)
        seen = self._scorer.seen([tile.pixels for tile in view.tiles])
        tallies: list[_Tally] = []
        blocks = blend_tiles(self._scorer, seen, tops, lefts, view, self._sliding_window.overlap)
        asked = (
            ((number, top, left), found)
            for top, left, block in blocks
            for number, found in enumerate(self._scorer.best(block, (block.shape[1], block.shape[2])))
        )
        for (number, top, left), found in prefetch(asked, self._scorer.prefetch):
            if number == len(tallies):
                tallies.append(_Tally(view))
            tallies[number].add(top, left, found)
        for tally in tallies:
            yield from tally.segments(self._names, self._model)


def blend_tiles(
    scorer: TileScorer[Planes],
    seen: Iterator[Planes],
    tops: Sequence[int],
    lefts: Sequence[int],
    view: View,
    overlap: int,
) -> Iterator[tuple[int, int, Planes]]:
    """Blocks that cover the view without gap or overlap: top, left and mean scores (classes, h, w).

    seen: (classes, side, side) of every tile, row by row; tops, lefts: where they begin. A tile counts less towards
    its edges, where it sees least of what is around: in proportion to the distance, as far as `overlap`.
    """
    high, wide = view.tiles[0].pixels.shape[:2]
    down, across = _weights(tops, high, view.height, overlap), _weights(lefts, wide, view.width, overlap)
    above: Planes | None = None  # what earlier rows of tiles gave to this one: (classes, rows, width)
    for row, (top, below) in enumerate(pairwise((*tops, view.height))):
        ready = below - top
        kept: Planes | None = None  # what this row gives to the next
        window: Planes | None = None  # sums of the tile at hand
        entered = 0  # columns of it that the one before gave
        for column, (left, right) in enumerate(pairwise((*lefts, view.width))):
            tile = next(seen)
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


def _weights(starts: Sequence[int], side: int, length: int, overlap: int) -> list[NDArray[np.float32]]:
    """(side,) for each tile along one axis; at every pixel those of all tiles add up to 1."""
    place = np.arange(side)
    slope = np.minimum(np.minimum(place + 1, side - place), max(1, overlap)).astype(np.float64)
    total = np.zeros(length)
    for start in starts:
        total[start : start + side] += slope
    return [(slope / total[start : start + side]).astype(np.float32) for start in starts]


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


class _Tally:
    """The class of every pixel, and the sum of its probability over the pixels of each class."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._ids = np.full((view.height, view.width), _NONE, np.uint16)
        self._pixels = np.zeros(_NONE, np.int64)
        self._scores = np.zeros(_NONE, np.float64)

    def add(self, top: int, left: int, found: ClassMap) -> None:
        there = found.ids >= 0
        block = self._ids[top : top + found.ids.shape[0], left : left + found.ids.shape[1]]
        block[there] = found.ids[there]
        pixels = np.bincount(found.ids[there])
        self._pixels[: len(pixels)] += pixels
        self._scores[: len(pixels)] += np.bincount(found.ids[there], weights=found.scores[there])

    def segments(self, names: Sequence[str], model: HasTag) -> Iterator[Segment]:
        for number in np.flatnonzero(self._pixels).tolist():
            if number < len(names) and names[number]:
                score = min(1.0, self._scores[number] / self._pixels[number])
                inside = self._ids == number
                yield segment(
                    inside, x=0, y=0, view=self._view, label=names[number], score=score, model=model, class_id=number
                )
