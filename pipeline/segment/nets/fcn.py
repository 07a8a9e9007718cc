"""The network of fcn.py.

VGG-16's five stages, a score of each class from the last one (FCN-32s), and, at half and a quarter of its stride,
scores from the stages before added to it (FCN-16s, FCN-8s). Padding is a pixel instead of the paper's 100 and a crop;
scores are enlarged bilinearly, which is where the paper's learnt enlargement starts; batch normalisation as later work.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import nn
from torch.nn import functional

_STAGES: Final = ((2, 1), (2, 2), (3, 4), (3, 8), (3, 8))
"""How many convolutions, and how many times the first width: VGG-16."""


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
    """Convolutions, and half the size."""
    layers: list[nn.Module] = []
    for position in range(count):
        layers += [
            nn.Conv2d(near if position == 0 else far, far, 3, padding=1, bias=False),
            nn.BatchNorm2d(far),
            nn.ReLU(inplace=True),
        ]
    return nn.Sequential(*layers, nn.MaxPool2d(2))
