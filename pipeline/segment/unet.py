"""Classes of pixels by a U-Net (Ronneberger et al. 2015, arXiv:1505.04597) with weights of your own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from pipeline.segment.shared.state_dict_network import OwnNetwork
from pipeline.spec import spec

if TYPE_CHECKING:
    import torch


@spec
class Unet(OwnNetwork):
    """One segment for each class present, by a U-Net; the paper's has depth=4 and width=64."""

    depth: Annotated[int, Field(ge=1, le=6)] = 4
    """Number of times that the image is halved."""

    @property
    def multiple(self) -> int:
        return int(2**self.depth)

    def network(self) -> torch.nn.Module:
        from pipeline.segment.nets.unet import UNet

        return UNet(classes=len(self.names), width=self.width, depth=self.depth)
