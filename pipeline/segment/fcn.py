"""Classes of pixels by a fully convolutional network (Long et al. 2015, arXiv:1411.4038) with weights of your own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pipeline.segment.shared.state_dict_network import OwnNetwork
from pipeline.spec import spec

if TYPE_CHECKING:
    import torch


@spec
class Fcn(OwnNetwork):
    """One segment for each class present, by FCN-8s, -16s or -32s; with width=64 its encoder is VGG-16."""

    stride: Literal[8, 16, 32] = 8
    """Stride of the finest scores that are added up: 8 for FCN-8s, 16 for FCN-16s, 32 for FCN-32s."""

    @property
    def multiple(self) -> int:
        return 32

    def network(self) -> torch.nn.Module:
        from pipeline.segment.nets.fcn import FCN

        return FCN(classes=len(self.names), width=self.width, stride=self.stride)
