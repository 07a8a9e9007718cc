"""Scores of tiles by a torch network: the mean over several scales and mirror images."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.contracts import SegmentModel
from pipeline.models.torch_device import PendingArrays, to_device
from pipeline.records import Rgb
from pipeline.segment.shared.class_map import ClassMap, NetworkModel, class_segments
from pipeline.segment.shared.masks import HasTag
from pipeline.segment.shared.preprocess import Preprocess
from pipeline.segment.shared.sliding_window import SlidingWindow
from pipeline.segment.shared.sliding_window_run import SlidingWindowModel
from pipeline.segment.shared.torch_runner import ClassNet, Net, Scores, enlarged, winners

Best: TypeAlias = Callable[[torch.Tensor, tuple[int, int]], Sequence[PendingArrays[ClassMap]]]
"""Scores (classes, h, w) and a size to maps of classes of that size, as `TileScorer.best`."""


def one_map(logits: torch.Tensor, size: tuple[int, int]) -> Sequence[PendingArrays[ClassMap]]:
    """The map of classes that exclude each other."""
    return (winners(logits, size),)


def class_segmenter(
    net: Net,
    how: Preprocess,
    scores: Scores,
    sliding_window: SlidingWindow,
    names: Sequence[str],
    model: HasTag,
    *,
    best: Best = one_map,
    whole: SegmentModel | None = None,
) -> SegmentModel:
    """The loaded segmenter of a network of classes, in a sliding window where that is asked for.

    scores, best: as in TorchScorer. whole: answers for whole images, by default the class with the best score at each
    pixel.
    """
    if not sliding_window.plain:
        scorer = TorchScorer(net, how, scores, sliding_window, best)
        return SlidingWindowModel(scorer, sliding_window, names, model)
    return whole or NetworkModel(ClassNet(net, how, scores).each, class_segments, names, model)


class TorchScorer:
    """`TileScorer` of a torch network. scores: calls the network; best: makes maps of classes of the blended scores."""

    def __init__(
        self, net: Net, how: Preprocess, scores: Scores, sliding_window: SlidingWindow, best: Best = one_map
    ) -> None:
        self._net, self._how, self._scores, self._sliding_window, self._best = net, how, scores, sliding_window, best

    def scores(self, tiles: Sequence[Rgb]) -> Iterator[torch.Tensor]:
        size = tiles[0].shape[:2]
        batch = self._net.options.batch
        for _, answers in self._net.sizes.each(
            range(len(tiles)), size, batch, lambda some: self._mean([tiles[position] for position in some])
        ):
            yield from answers

    @property
    def prefetch(self) -> int:
        return self._net.prefetch

    def best(self, planes: torch.Tensor, size: tuple[int, int]) -> Sequence[PendingArrays[ClassMap]]:
        return self._best(planes, size)

    def zeros(self, like: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
        return like.new_zeros(shape)

    def moved(self, values: NDArray[np.float32], like: torch.Tensor) -> torch.Tensor:
        return to_device(values, torch.float32, like.device)

    def _mean(self, tiles: Sequence[Rgb]) -> torch.Tensor:
        """(n, classes, h, w) of n tiles of h x w."""
        size = (tiles[0].shape[0], tiles[0].shape[1])
        passes = []
        for scale in self._sliding_window.scales:
            batch = self._net.stacked(tiles, _scaled(self._how, size, scale))
            passes += [(batch, False), (batch.flip(3), True)] if self._sliding_window.flip else [(batch, False)]
        total = torch.zeros(())
        for number, (batch, flipped) in enumerate(passes):
            answers = self._net.run(lambda module, batch=batch: self._scores(module, batch)).float()  # type: ignore[misc]
            answers = torch.stack([enlarged(answer.flip(2) if flipped else answer, size) for answer in answers])
            total = answers if number == 0 else total.add_(answers)
        return total.div_(len(passes)) if len(passes) > 1 else total


def _scaled(how: Preprocess, size: tuple[int, int], scale: float) -> Preprocess:
    if scale == 1:
        return how
    high, wide = (max(1, round(side * scale)) for side in how.size(*size))
    return replace(how, height=high, width=wide, shortest=0, longest=0)
