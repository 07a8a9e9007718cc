"""What an ONNX network sees of tiles, at several sizes and mirrored: the mean of its scores. Without torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import product

import cv2
import numpy as np

from pipeline.records import Rgb
from pipeline.segment.shared.class_map import ClassMap, Floats, resized
from pipeline.segment.shared.fields import check_finite
from pipeline.segment.shared.onnx_runner import Model
from pipeline.segment.shared.sliding_window import SlidingWindow


class OnnxScorer:
    """`tiled.Eyes` of an ONNX network.

    size: height and width that the network sees of a tile of a height and width, at a scale. prepare: of pixels, its
    input. planes: of its answer for one image, (classes, h, w). best: what the blended ones say at each pixel.
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
        self._looks = list(product(sliding_window.scales, (False, True) if sliding_window.flip else (False,)))
        self._batch = batch

    def seen(self, tiles: Sequence[Rgb]) -> Iterator[Floats]:
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
        for scale, mirrored in self._looks:
            shown = [self._shown(tile, scale, mirrored) for tile in tiles]
            for position, (answer,) in self._model.each(shown, self._prepare, self._batch):
                size = (tiles[position].shape[0], tiles[position].shape[1])
                planes = self._planes(answer)
                planes = planes[:, :, ::-1] if mirrored else planes
                large = np.stack([resized(np.ascontiguousarray(plane), size) for plane in planes])
                totals[position] = totals[position] + large if position in totals else large
        for position in range(len(tiles)):
            yield totals[position] / np.float32(len(self._looks))

    def _shown(self, tile: Rgb, scale: float, mirrored: bool) -> Rgb:
        height, width = self._size(tile.shape[0], tile.shape[1], scale)
        if (height, width) != tile.shape[:2]:
            shrinks = height * width < tile.shape[0] * tile.shape[1]
            how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
            tile = np.asarray(cv2.resize(tile, (width, height), interpolation=how), np.uint8)
        return tile[:, ::-1] if mirrored else tile
