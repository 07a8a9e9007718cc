"""The network of fcn.py.

VGG-16's five stages, scores of each class from the last one (FCN-32s), and scores of the two stages before it added at
half and a quarter of its stride (FCN-16s, FCN-8s). Unlike the paper: padding of one pixel instead of 100 and a crop,
bilinear enlargement of the scores, where the paper's learnt one starts, and batch normalisation.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import nn
from torch.nn import functional

_STAGES: Final = ((2, 1), (2, 2), (3, 4), (3, 8), (3, 8))
"""Number of convolutions, and multiple of the first stage's width, of each stage of VGG-16."""


class FCN(nn.Module):
    """(n, 3, h, w) to logits (n, classes, h, w); h and w are multiples of 32."""

    def __init__(self, *, classes: int, width: int, stride: int) -> None:
        super().__init__()
        widths = [3, *(width * times for _, times in _STAGES)]
        self.stages = nn.ModuleList(
            _stage(near, far, count) for near, far, (count, _) in zip(widths[:-1], widths[1:], _STAGES, strict=True)
        )
        mixed = {32: 1, 16: 2, 8: 3}[stride]
        self.scores = nn.ModuleList(nn.Conv2d(far, classes, kernel_size=1) for far in widths[::-1][:mixed])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        size, seen = x.shape[2:], []
        for stage in self.stages:
            x = stage(x)
            seen.append(x)
        total = self.scores[0](seen[-1])
        for score, finer in zip(self.scores[1:], reversed(seen[:-1]), strict=False):
            total = score(finer) + functional.interpolate(total, scale_factor=2, mode="bilinear", align_corners=False)
        return functional.interpolate(total, size=size, mode="bilinear", align_corners=False)


def _stage(near: int, far: int, count: int) -> nn.Sequential:
    """Convolutions, then half the size."""
    layers: list[nn.Module] = []
    for position in range(count):
        layers += [
            nn.Conv2d(near if position == 0 else far, far, 3, padding=1, bias=False),
            nn.BatchNorm2d(far),
            nn.ReLU(inplace=True),
        ]
    return nn.Sequential(*layers, nn.MaxPool2d(2))
