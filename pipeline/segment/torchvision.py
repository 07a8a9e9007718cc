"""torchvision's FCN, DeepLabV3, LR-ASPP and Mask R-CNN, where torchvision is installed.

It is in no extra: its wheel has to match the build of torch. Weights are .safetensors of the model's state_dict;
torchvision's own .pth are pickles, to be converted once where you trust them.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from pipeline.contracts import SegmentModel
from pipeline.image.view import Fit, Tiles
from pipeline.models.torch_options import TorchOptions, need
from pipeline.records import Device
from pipeline.segment.shared.class_map import NetworkModel, OneFile, class_segments, mask_segments
from pipeline.segment.shared.fields import check_flag, check_number, check_whole
from pipeline.segment.shared.preprocess import Preprocess
from pipeline.segment.shared.sliding_window import SlidingWindow
from pipeline.segment.shared.sliding_window_run import SlidingWindowModel
from pipeline.segment.shared.warm_up import WarmStart

if TYPE_CHECKING:
    import torch

    from pipeline.segment.shared.torch_runner import Net


@dataclass(frozen=True, kw_only=True)
class _Torchvision(OneFile, WarmStart):
    side: int
    run: TorchOptions = field(default_factory=TorchOptions)

    def __post_init__(self) -> None:
        need("segment.torchvision", "torch", "safetensors", "torchvision")
        self.check_parts("torchvision", ".safetensors")
        check_whole("torchvision.side", self.side, 32, 1 << 14)

    @abstractmethod
    def network(self) -> torch.nn.Module:
        """As torchvision builds it, without weights."""

    def check(self) -> None:
        """Raises WeightsError when the file holds another network."""
        from pipeline.segment.shared.torch_runner import check_file

        check_file(self.network(), self.model.fetch())

    def net(self, device: Device, threads: int) -> Net:
        from pipeline.segment.shared.torch_runner import Net, fill_in

        return Net(fill_in(self.network(), self.model.fetch()), device, threads, self.run)


@dataclass(frozen=True, kw_only=True)
class TorchvisionSemantic(_Torchvision):
    """One segment for each class present.

    arch: of torchvision.models.segmentation. model: its state_dict as .safetensors. names: of class 0, 1, ...; "" is
    never a segment. side: the longer side that the network sees. auxiliary: the state holds the auxiliary classifier
    too, as torchvision's own weights of FCN and DeepLabV3 do. look: tiles, sizes, mirror images. run: how torch runs.
    """

    arch: Literal[
        "fcn_resnet50", "fcn_resnet101", "deeplabv3_resnet50", "deeplabv3_resnet101", "deeplabv3_mobilenet_v3_large",
        "lraspp_mobilenet_v3_large",
    ]  # fmt: skip
    side: int = 520
    auxiliary: bool = True
    sliding_window: SlidingWindow = field(default_factory=SlidingWindow)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_flag("torchvision.auxiliary", self.auxiliary)
        _ = self.view

    @property
    def view(self) -> Fit | Tiles:
        return self.sliding_window.view(self.side, 8)

    def network(self) -> torch.nn.Module:
        from torchvision.models import get_model

        more = {} if self.arch.startswith("lraspp") else {"aux_loss": self.auxiliary}
        built: torch.nn.Module = get_model(
            self.arch, weights=None, weights_backbone=None, num_classes=len(self.names), **more
        )
        return built

    def load_network(self, device: Device, threads: int) -> SegmentModel:
        from pipeline.segment.shared.torch_runner import ClassNet

        net = self.net(device, threads)
        if self.sliding_window.plain:
            return NetworkModel(ClassNet(net, Preprocess(), _out).each, class_segments, self.names, self.model)
        from pipeline.segment.shared.torch_scorer import TorchScorer

        return SlidingWindowModel(
            TorchScorer(net, Preprocess(), _out, self.sliding_window), self.sliding_window, self.names, self.model
        )


def _out(module: torch.nn.Module, batch: torch.Tensor) -> torch.Tensor:
    answer: torch.Tensor = module(batch)["out"]
    return answer


@dataclass(frozen=True, kw_only=True)
class TorchvisionMaskRcnn(_Torchvision):
    """One segment a thing (Mask R-CNN, He et al. 2017, arXiv:1703.06870). No `look`: a thing on the border of two tiles
    would be two.

    arch, model, names, run as in TorchvisionSemantic; class 0 is the background. side: the longer side that is looked
    at; the network itself goes to 800 x 1333 from there. score: of a thing. mask: from which probability on a pixel is
    inside. Each image goes alone, whatever run.batch.
    """

    arch: Literal["maskrcnn_resnet50_fpn", "maskrcnn_resnet50_fpn_v2"]
    side: int = 1333
    score: float = 0.5
    mask: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("torchvision.score", self.score, 0, 1)
        check_number("torchvision.mask", self.mask, 0, 1)

    @property
    def view(self) -> Fit:
        return Fit(side=self.side, multiple=1, resample="area")

    def network(self) -> torch.nn.Module:
        from torchvision.models import get_model

        built: torch.nn.Module = get_model(
            self.arch, weights=None, weights_backbone=None, num_classes=len(self.names), box_score_thresh=self.score
        )
        return built

    def load_network(self, device: Device, threads: int) -> SegmentModel:
        from pipeline.segment.torchvision_net import InstanceNet

        found = InstanceNet(self.net(device, threads), self.mask)
        return NetworkModel(found.each, mask_segments, self.names, self.model)
