"""What a torch network sees of tiles, at several sizes and mirrored: the mean of its scores."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.models.torch_device import PendingArrays, to_device
from pipeline.records import Rgb
from pipeline.segment.shared.class_map import ClassMap
from pipeline.segment.shared.preprocess import Preprocess
from pipeline.segment.shared.sliding_window import SlidingWindow
from pipeline.segment.shared.torch_runner import Net, enlarged, winners

Scores: TypeAlias = Callable[[torch.nn.Module, torch.Tensor], torch.Tensor]
"""(n, 3, h, w) to (n, classes, any height, any width)."""


def one_map(scores: torch.Tensor, size: tuple[int, int]) -> tuple[PendingArrays[ClassMap]]:
    """Of logits of classes that exclude each other."""
    return (winners(scores, size),)


class TorchScorer:
    """`tiled.Eyes` of a torch network. scores: how it is asked; best: what the blended scores say."""

    def __init__(
        self,
        net: Net,
        how: Preprocess,
        scores: Scores,
        sliding_window: SlidingWindow,
        best: Callable[[torch.Tensor, tuple[int, int]], Sequence[PendingArrays[ClassMap]]] = one_map,
    ) -> None:
        self._net, self._how, self._scores, self._sliding_window, self._best = net, how, scores, sliding_window, best

    def seen(self, tiles: Sequence[Rgb]) -> Iterator[torch.Tensor]:
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
        looks = []
        for scale in self._sliding_window.scales:
            batch = self._net.stacked(tiles, _scaled(self._how, size, scale))
            looks += [(batch, False), (batch.flip(3), True)] if self._sliding_window.flip else [(batch, False)]
        total = torch.zeros(())
        for number, (batch, mirrored) in enumerate(looks):
            answers = self._net.run(lambda module, batch=batch: self._scores(module, batch)).float()  # type: ignore[misc]
            answers = torch.stack([enlarged(answer.flip(2) if mirrored else answer, size) for answer in answers])
            total = answers if number == 0 else total.add_(answers)
        return total.div_(len(looks)) if len(looks) > 1 else total


def _scaled(how: Preprocess, size: tuple[int, int], scale: float) -> Preprocess:
    if scale == 1:
        return how
    high, wide = (max(1, round(side * scale)) for side in how.size(*size))
    return replace(how, height=high, width=wide, shortest=0, longest=0)
