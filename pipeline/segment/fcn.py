"""Which class is each pixel? A fully convolutional network (Long et al. 2015, arXiv:1411.4038), weights of your own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pipeline.errors import ConfigError
from pipeline.segment.shared.state_dict_network import OwnNetwork

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, kw_only=True)
class Fcn(OwnNetwork):
    """stride: 32, 16 or 8: how fine the coarsest scores are mixed with finer ones (FCN-32s, -16s, -8s). The paper's
    width (VGG-16's) is 64."""

    stride: Literal[8, 16, 32] = 8

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.stride not in (8, 16, 32):
            raise ConfigError(f"segment.fcn.stride: expected 8, 16 or 32, got {self.stride!r}")

    @property
    def multiple(self) -> int:
        return 32

    def network(self) -> torch.nn.Module:
        from pipeline.segment.nets.fcn import FCN

        return FCN(classes=len(self.names), width=self.width, stride=self.stride)
