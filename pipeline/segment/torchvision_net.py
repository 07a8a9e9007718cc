"""Masks of torchvision's instance segmentation networks, computed on the device."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Final

import torch

from pipeline.records import Rgb
from pipeline.segment.shared.class_map import FoundMask
from pipeline.segment.shared.preprocess import Preprocess
from pipeline.segment.shared.torch_runner import Net, enlarged, finite

_RAW: Final = Preprocess(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
"""0..1; the networks normalise and resize themselves."""


class InstanceNet:
    """A network that takes a list of images and answers each with labels, scores and masks (n, 1, h, w).

    threshold: minimum probability of a pixel inside.
    """

    def __init__(self, net: Net, threshold: float) -> None:
        self._net, self._threshold = net, threshold

    def each(self, tiles: Sequence[Rgb], sizes: Sequence[tuple[int, int]]) -> Iterator[tuple[int, list[FoundMask]]]:
        """Yield the position of each tile and one mask per object, of its size (height, width), best first."""
        for position, tile in enumerate(tiles):
            yield position, list(self._masks(tile, sizes[position]))

    def _masks(self, tile: Rgb, size: tuple[int, int]) -> Iterator[FoundMask]:
        image = self._net.prepared(tile, _RAW)
        answer = self._net.run(partial(_call, image=image))
        finite(answer["scores"].float(), answer["masks"].float())
        triples = zip(answer["labels"].tolist(), answer["scores"].tolist(), answer["masks"], strict=True)
        for number, score, plane in triples:
            inside = enlarged(plane.float(), size)[0] >= self._threshold
            if bool(inside.any()):
                yield FoundMask(inside=inside.cpu().numpy(), class_id=number, score=score)


def _call(module: torch.nn.Module, image: torch.Tensor) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = module([image])[0]
    return found
