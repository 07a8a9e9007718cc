"""Which class is each pixel? U-Net (Ronneberger et al. 2015, arXiv:1505.04597), with weights of your own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.segment.shared.fields import check_whole
from pipeline.segment.shared.state_dict_network import OwnNetwork

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, kw_only=True)
class Unet(OwnNetwork):
    """depth: how often the image is halved; the paper's is 4, its width 64."""

    depth: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        check_whole("unet.depth", self.depth, 1, 6)

    @property
    def multiple(self) -> int:
        return int(2**self.depth)

    def network(self) -> torch.nn.Module:
        from pipeline.segment.nets.unet import UNet

        return UNet(classes=len(self.names), width=self.width, depth=self.depth)
