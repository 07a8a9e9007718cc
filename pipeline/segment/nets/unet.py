"""The network of unet.py.

Figure 1 of the paper, but with padded convolutions, so that the scores have the size of the image and nothing is
cropped, and with batch normalisation.
"""

from __future__ import annotations

import torch
from torch import nn


class UNet(nn.Module):
    """(n, 3, h, w) to logits (n, classes, h, w); h and w are multiples of 2 ** depth."""

    def __init__(self, *, classes: int, width: int, depth: int) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(depth + 1)]
        self.down = nn.ModuleList(_block(near, far) for near, far in zip([3, *widths[:-1]], widths, strict=True))
        self.up = nn.ModuleList(
            nn.ConvTranspose2d(2 * near, near, kernel_size=2, stride=2) for near in reversed(widths[:-1])
        )
        self.join = nn.ModuleList(_block(2 * near, near) for near in reversed(widths[:-1]))
        self.score = nn.Conv2d(width, classes, kernel_size=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        seen: list[torch.Tensor] = []
        for level, stage in enumerate(self.down):
            x = stage(x if level == 0 else nn.functional.max_pool2d(x, 2))
            seen.append(x)
        for grow, join, side in zip(self.up, self.join, reversed(seen[:-1]), strict=True):
            x = join(torch.cat([side, grow(x)], dim=1))
        scores: torch.Tensor = self.score(x)
        return scores


def _block(near: int, far: int) -> nn.Sequential:
    """Two 3 x 3 convolutions, each normalised and rectified."""
    return nn.Sequential(
        nn.Conv2d(near, far, 3, padding=1, bias=False), nn.BatchNorm2d(far), nn.ReLU(inplace=True),
        nn.Conv2d(far, far, 3, padding=1, bias=False), nn.BatchNorm2d(far), nn.ReLU(inplace=True),
    )  # fmt: skip
