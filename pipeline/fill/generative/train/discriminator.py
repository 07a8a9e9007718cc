"""The network that the generator is trained against: it tells painted patches of an image from real ones."""

from __future__ import annotations

from typing import Final

import torch
from torch import nn
from torch.nn import functional

STRIDE: Final = 8
"""Pixels between two patches; a patch is 54 pixels wide."""


class Discriminator(nn.Module):
    """Judges patches: RGB (n, 3, h, w) of -1..1 and the mask -> logits of "real" (n, 1, h/8, w/8), features by layer.

    A PatchGAN (Isola et al., Image-to-Image Translation with Conditional Adversarial Networks, 2017) without
    normalisation, because of its gradient penalty.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList([
            nn.Conv2d(4, width, 4, stride=2, padding=1),
            nn.Conv2d(width, 2 * width, 4, stride=2, padding=1),
            nn.Conv2d(2 * width, 4 * width, 4, stride=2, padding=1),
            nn.Conv2d(4 * width, 4 * width, 3, padding=1),
        ])  # fmt: skip
        self.logits = nn.Conv2d(4 * width, 1, 3, padding=1)

    def forward(self, rgb: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        x, features = torch.cat([rgb, mask], dim=1), []
        for layer in self.layers:
            x = functional.leaky_relu(layer(x), 0.2)
            features.append(x)
        return self.logits(x), features


def painted_patches(mask: torch.Tensor) -> torch.Tensor:
    """(n, 1, h/8, w/8), 1 where the middle of a patch holds painted pixels: the others of a filled image are real
    (Suvorov et al., Resolution-robust Large Mask Inpainting with Fourier Convolutions, 2022)."""
    return functional.max_pool2d(mask, STRIDE)
