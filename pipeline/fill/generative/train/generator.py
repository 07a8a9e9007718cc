"""The network of fill=generative in torch, for training; the fill runs its ONNX export (export.py).

A U-Net of gated convolutions (Yu et al., Free-Form Image Inpainting with Gated Convolution, 2019) that works at an
eighth of the resolution and sees the whole window there, by attention whose keys hold what is known. It starts from a
smooth sketch and a sharp copy of known pixels (network_input.py), and says for each pixel how much of the copy's broad
and of its fine detail to take and what to add. So texture is there before any training, as in Yi et al., Contextual
Residual Aggregation for Ultra High-Resolution Image Inpainting, 2020. It has no normalisation, so an answer never
depends on other images of a batch, and what it says is smooth: all fine detail is copied, so a short training cannot
put a pattern there that is nowhere in the picture.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import nn
from torch.nn import functional

from pipeline.fill.generative.network_input import CHANNELS, MULTIPLE

PAINTED: Final = 5
"""What the network says of each pixel: RGB to add, and how much more of the broad and the fine difference to take."""
BEFORE: Final = (0.75, 1.0)
"""How much of the broad and of the fine difference is taken before anything is learnt."""
WIDTHS: Final = (32, 64, 128)
"""Channels at a half, a quarter and an eighth of the resolution."""
BODY: Final = (1, 2, 4, 1)
"""Dilation of each gated convolution at an eighth."""
ATTEND: Final = (3,)
"""Positions in BODY of those that attention follows."""
KEYS: Final = 32
"""Channels in which places are compared."""
UNKNOWN: Final = -8.0
"""Added to the logit of a place all of which is unknown."""
COARSE: Final = 4
"""Pixels a side that share one answer of the network; it is interpolated between them."""


class Generator(nn.Module):
    """Fills windows: (n, CHANNELS, h, w) of `network_input` -> RGB (n, 3, h, w), -1..1 or a little beyond; h and w are
    multiples of MULTIPLE. At the very beginning of a training it adds nothing."""

    def __init__(self) -> None:
        super().__init__()
        half, quarter, eighth = WIDTHS
        self.stem = Gated(CHANNELS, half, stride=2)
        self.down1 = Gated(half, quarter, stride=2)
        self.middle = Plain(quarter)
        self.down2 = Gated(quarter, eighth, stride=2)
        self.body = nn.ModuleList(Gated(eighth, eighth, dilation=dilation) for dilation in BODY)
        self.attend = nn.ModuleList(Attention(eighth) for _ in ATTEND)
        self.up1 = nn.Conv2d(eighth, 4 * quarter, 1)
        self.middle1, self.middle2 = Plain(quarter), Plain(quarter)
        self.paint = nn.Conv2d(quarter, PAINTED, 3, padding=1)
        nn.init.zeros_(self.paint.weight)
        nn.init.zeros_(self.paint.bias)  # type: ignore[arg-type]  # there is one

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        sketch, mask, broad, fine = torch.split(x, [3, 1, 3, 3], dim=1)
        bias = UNKNOWN * functional.avg_pool2d(mask, MULTIPLE).flatten(2)
        quarter: torch.Tensor = self.middle(self.down1(self.stem(x)))
        deep: torch.Tensor = self.down2(quarter)
        for number, layer in enumerate(self.body):
            deep = deep + layer(deep)
            if number in ATTEND:
                deep = deep + self.attend[ATTEND.index(number)](deep, bias)
        quarter = self.middle2(self.middle1(quarter + functional.pixel_shuffle(self.up1(deep), 2)))
        painted = functional.interpolate(self.paint(quarter), scale_factor=COARSE, mode="bilinear")
        added, more_broad, more_fine = torch.split(painted, [3, 1, 1], dim=1)
        return sketch + added + broad * (BEFORE[0] + more_broad) + fine * (BEFORE[1] + more_fine)


class Gated(nn.Module):
    """A convolution of 3 x 3 that also decides, for each of its answers, how much of it to let through."""

    def __init__(self, near: int, far: int, *, stride: int = 1, dilation: int = 1) -> None:
        super().__init__()
        self._far = far
        self.conv = nn.Conv2d(near, 2 * far, 3, stride=stride, padding=dilation, dilation=dilation)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        value, gate = torch.split(self.conv(x), self._far, dim=1)
        return functional.silu(value) * torch.sigmoid(gate)


class Plain(nn.Module):
    """A residual convolution of 3 x 3."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + functional.silu(self.conv(x))


class Attention(nn.Module):
    """Gives each place a weighted mean of all places, by how alike they are; unknown ones hardly count."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.query, self.key = nn.Conv2d(width, KEYS, 1), nn.Conv2d(width, KEYS, 1)
        self.value, self.out = nn.Conv2d(width, width, 1), nn.Conv2d(width, width, 1)

    def forward(self, x: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        """bias: (n, 1, places), added to how alike a place is to any other."""
        query, key, value = self.query(x).flatten(2), self.key(x).flatten(2), self.value(x).flatten(2)
        weights = torch.softmax(query.transpose(1, 2) @ key * KEYS**-0.5 + bias, dim=-1)
        taken: torch.Tensor = self.out((value @ weights.transpose(1, 2)).view_as(x))
        return taken
