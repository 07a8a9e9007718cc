"""The network of generative.py, for training and for tests; the fill itself runs it without torch.

A U-Net of gated convolutions (Yu et al., Free-Form Image Inpainting with Gated Convolution, 2019) whose work is done at
an eighth of the resolution, with a look at the whole window there (attention whose keys are what is known, so that
what goes with it is known). It does not begin from nothing: it is given a sketch, smooth, and a copy of what is known
elsewhere, sharp (shiftmap.py), and says for each pixel how much of the copy's broad and of its fine detail to take and
what to add. So texture is there before any training, as in Yi et al., Contextual Residual Aggregation for Ultra
High-Resolution Image Inpainting, 2020. It has no normalisation, so an answer never depends on other images of a batch,
and what it says is smooth: all fine detail is copied, so a short training cannot put a pattern there that is nowhere.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from pipeline.fill.generative import layout as plan


class Generator(nn.Module):
    """(n, CHANNELS, h, w), see generative_plan.window, to RGB (n, 3, h, w), -1..1 or a little beyond; h and w are
    multiples of 8. At the very beginning of a training it adds nothing.
    """

    def __init__(self) -> None:
        super().__init__()
        half, quarter, eighth = plan.WIDTHS
        self.stem = Gated(plan.CHANNELS, half, plan.STEM, stride=2)
        self.down1 = Gated(half, quarter, 3, stride=2)
        self.middle = Plain(quarter)
        self.down2 = Gated(quarter, eighth, 3, stride=2)
        self.body = nn.ModuleList(Gated(eighth, eighth, 3, dilation=dilation) for dilation in plan.BODY)
        self.attend = nn.ModuleList(Attention(eighth, plan.KEYS) for _ in plan.ATTEND)
        self.up1 = nn.Conv2d(eighth, 4 * quarter, 1)
        self.middle1, self.middle2 = Plain(quarter), Plain(quarter)
        self.paint = nn.Conv2d(quarter, plan.PAINTED, 3, padding=1)
        nn.init.zeros_(self.paint.weight)
        nn.init.zeros_(self.paint.bias)  # type: ignore[arg-type]  # there is one

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        bias = plan.UNKNOWN * functional.avg_pool2d(x[:, 3:4], plan.MULTIPLE).flatten(2)
        quarter: torch.Tensor = self.middle(self.down1(self.stem(x)))
        deep: torch.Tensor = self.down2(quarter)
        for number, layer in enumerate(self.body):
            deep = deep + layer(deep)
            if number in plan.ATTEND:
                deep = deep + self.attend[plan.ATTEND.index(number)](deep, bias)
        quarter = self.middle2(self.middle1(quarter + functional.pixel_shuffle(self.up1(deep), 2)))
        painted = functional.interpolate(self.paint(quarter), scale_factor=plan.COARSE, mode="bilinear")
        broad, fine = (x[:, slice(*span)] * (trust + painted[:, at : at + 1]) for at, span, trust in plan.COPIES)
        return x[:, slice(*plan.SKETCH)] + painted[:, :3] + broad + fine


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
