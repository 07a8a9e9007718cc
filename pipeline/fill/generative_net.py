"""The network of generative.py, for training and for tests; the fill itself runs it without torch.

A U-Net of gated convolutions (Yu et al., Free-Form Image Inpainting with Gated Convolution, 2019) whose work is done at
an eighth of the resolution, with two looks at the whole window there (attention whose keys are what is known, so that
texture can be taken from afar). It does not begin from nothing: it is given what fill=diffuse would make, and says what
is to be added, so after a short training it is no worse than that already. It has no normalisation, so an answer never
depends on other images of a batch, and no full-resolution layer: what is known is pasted back in any case.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from pipeline.fill.generative_plan import ATTEND, BODY, CHANNELS, KEYS, MULTIPLE, STEM, UNKNOWN, WIDTHS


class Generator(nn.Module):
    """(n, 5, h, w) to RGB (n, 3, h, w), -1..1 or a little beyond; h and w are multiples of 8.

    The channels of the input: RGB, sketched where it is to be made up; the mask (1 = make up); and noise under the
    mask, from which grain is made. What comes out is the sketch and what the network has to add to it: at the very
    beginning of a training, nothing.
    """

    def __init__(self) -> None:
        super().__init__()
        half, quarter, eighth = WIDTHS
        self.stem = Gated(CHANNELS, half, STEM, stride=2)
        self.fine = Plain(half)
        self.down1 = Gated(half, quarter, 3, stride=2)
        self.middle = Plain(quarter)
        self.down2 = Gated(quarter, eighth, 3, stride=2)
        self.body = nn.ModuleList(Gated(eighth, eighth, 3, dilation=dilation) for dilation in BODY)
        self.attend = nn.ModuleList(Attention(eighth, KEYS) for _ in ATTEND)
        self.up1 = nn.Conv2d(eighth, 4 * quarter, 1)
        self.middle1, self.middle2 = Plain(quarter), Plain(quarter)
        self.up2 = nn.Conv2d(quarter, 4 * half, 1)
        self.fine1, self.fine2 = Plain(half), Plain(half)
        self.paint = nn.Conv2d(half, 4 * 3, 3, padding=1)
        nn.init.zeros_(self.paint.weight)
        nn.init.zeros_(self.paint.bias)  # type: ignore[arg-type]  # there is one

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        bias = UNKNOWN * functional.avg_pool2d(x[:, 3:4], MULTIPLE).flatten(2)
        half: torch.Tensor = self.fine(self.stem(x))
        quarter: torch.Tensor = self.middle(self.down1(half))
        deep: torch.Tensor = self.down2(quarter)
        for number, layer in enumerate(self.body):
            deep = deep + layer(deep)
            if number in ATTEND:
                deep = deep + self.attend[ATTEND.index(number)](deep, bias)
        quarter = self.middle2(self.middle1(quarter + functional.pixel_shuffle(self.up1(deep), 2)))
        half = self.fine2(self.fine1(half + functional.pixel_shuffle(self.up2(quarter), 2)))
        return x[:, :3] + functional.pixel_shuffle(self.paint(half), 2)


class Gated(nn.Module):
    """A convolution that also decides, for each of its answers, how much of it to let through."""

    def __init__(self, near: int, far: int, side: int, *, stride: int = 1, dilation: int = 1) -> None:
        super().__init__()
        padding = dilation * (side // 2)
        self.conv = nn.Conv2d(near, 2 * far, side, stride=stride, padding=padding, dilation=dilation)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        value, gate = self.conv(x).chunk(2, dim=1)
        return functional.silu(value) * torch.sigmoid(gate)


class Plain(nn.Module):
    """What a convolution has to add."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + functional.silu(self.conv(x))


class Attention(nn.Module):
    """Each place takes a weighted mean of all places, by how alike they are; unknown ones hardly count."""

    def __init__(self, width: int, keys: int) -> None:
        super().__init__()
        self.query, self.key = nn.Conv2d(width, keys, 1), nn.Conv2d(width, keys, 1)
        self.value, self.out = nn.Conv2d(width, width, 1), nn.Conv2d(width, width, 1)

    def forward(self, x: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        """bias: (n, 1, places), added to how alike a place is to any other."""
        query, key, value = self.query(x).flatten(2), self.key(x).flatten(2), self.value(x).flatten(2)
        weights = torch.softmax(query.transpose(1, 2) @ key * key.shape[1] ** -0.5 + bias, dim=-1)
        taken: torch.Tensor = self.out((value @ weights.transpose(1, 2)).view_as(x))
        return taken
