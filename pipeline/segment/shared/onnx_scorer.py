"""Scores of tiles by an ONNX network: the mean over several scales and mirror images. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import product

import cv2
import numpy as np

from pipeline.records import Floats, Rgb
from pipeline.segment.shared.class_map import ClassMap, resized
from pipeline.segment.shared.masks import check_finite
from pipeline.segment.shared.onnx_runner import Model
from pipeline.segment.shared.sliding_window import SlidingWindow


class OnnxScorer:
    """`TileScorer` of an ONNX network.

    size: height and width of the network's input for a tile of a height and width at a scale. prepare: its input for a
    tile's pixels. planes: its answer for one image as (classes, h, w). best: the class of each pixel by blended scores.
    """

    prefetch = 0

    def __init__(
        self,
        model: Model,
        *,
        size: Callable[[int, int, float], tuple[int, int]],
        prepare: Callable[[Rgb], Floats],
        planes: Callable[[Floats], Floats],
        best: Callable[[Floats, tuple[int, int]], ClassMap],
        sliding_window: SlidingWindow,
        batch: int,
    ) -> None:
        self._model, self._size, self._prepare, self._planes, self._best = model, size, prepare, planes, best
        self._passes = list(product(sliding_window.scales, (False, True) if sliding_window.flip else (False,)))
        self._batch = batch

    def scores(self, tiles: Sequence[Rgb]) -> Iterator[Floats]:
        for start in range(0, len(tiles), self._batch):
            yield from self._mean(tiles[start : start + self._batch])

    def best(self, planes: Floats, size: tuple[int, int]) -> Sequence[Callable[[], ClassMap]]:
        check_finite(planes)
        found = self._best(planes, size)
        return (lambda: found,)

    def zeros(self, like: Floats, shape: tuple[int, ...]) -> Floats:
        return np.zeros(shape, np.float32)

    def moved(self, values: Floats, like: Floats) -> Floats:
        return values

    def _mean(self, tiles: Sequence[Rgb]) -> Iterator[Floats]:
        totals: dict[int, Floats] = {}
        for scale, flipped in self._passes:
            inputs = [self._resized(tile, scale, flipped) for tile in tiles]
            for position, (answer,) in self._model.each(inputs, self._prepare, self._batch):
                size = (tiles[position].shape[0], tiles[position].shape[1])
                planes = self._planes(answer)
                planes = planes[:, :, ::-1] if flipped else planes
                large = np.stack([resized(np.ascontiguousarray(plane), size) for plane in planes])
                totals[position] = totals[position] + large if position in totals else large
        for position in range(len(tiles)):
            yield totals[position] / np.float32(len(self._passes))

    def _resized(self, tile: Rgb, scale: float, flipped: bool) -> Rgb:
        height, width = self._size(tile.shape[0], tile.shape[1], scale)
        if (height, width) != tile.shape[:2]:
            shrinks = height * width < tile.shape[0] * tile.shape[1]
            how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
            tile = np.asarray(cv2.resize(tile, (width, height), interpolation=how), np.uint8)
        return tile[:, ::-1] if flipped else tile
