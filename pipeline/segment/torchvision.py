"""torchvision's FCN, DeepLabV3, LR-ASPP and Mask R-CNN, where torchvision is installed.

It is in no extra, because its wheel has to match the build of torch. Weights are .safetensors of the model's state;
torchvision's own .pth are pickles, to be converted once where you trust them.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import field
from typing import TYPE_CHECKING, ClassVar, Literal

from pipeline.contracts import SegmentModel
from pipeline.image.view import Fit, Tiles
from pipeline.models.torch_options import need
from pipeline.records import Device
from pipeline.segment.shared.class_map import NetworkModel, OneFile, mask_segments
from pipeline.segment.shared.fields import Side
from pipeline.segment.shared.preprocess import Preprocess
from pipeline.segment.shared.sliding_window import SlidingWindow
from pipeline.segment.shared.warm_up import WarmStart
from pipeline.spec import Share, spec

if TYPE_CHECKING:
    import torch

    from pipeline.segment.shared.torch_runner import Net


@spec
class _Torchvision(OneFile, WarmStart):
    side: Side
    """Longer side of the network's input, in pixels; larger images are shrunk."""

    suffixes: ClassVar = (".safetensors",)

    def __post_init__(self) -> None:
        need("segment.torchvision", "torch", "safetensors", "torchvision")
        super().__post_init__()

    @abstractmethod
    def network(self) -> torch.nn.Module:
        """The module as torchvision builds it, without weights."""

    def check(self) -> None:
        """Raise WeightsError when the file holds another network."""
        from pipeline.segment.shared.torch_runner import check_file

        check_file(self.network(), self.model.fetch())

    def net(self, device: Device, threads: int) -> Net:
        from pipeline.segment.shared.torch_runner import Net, fill_in

        return Net(fill_in(self.network(), self.model.fetch()), device, threads, self.run)


@spec
class TorchvisionSemantic(_Torchvision):
    """One segment for each class present."""

    arch: Literal[
        "fcn_resnet50", "fcn_resnet101", "deeplabv3_resnet50", "deeplabv3_resnet101", "deeplabv3_mobilenet_v3_large",
        "lraspp_mobilenet_v3_large",
    ]  # fmt: skip
    """Name of the network in torchvision.models.segmentation."""
    side: Side = 520
    """Longer side of the network's input, in pixels; larger images are shrunk, or with sliding_window.overlap seen in
    tiles of this side."""
    auxiliary: bool = True
    """The file also holds the auxiliary classifier, as torchvision's own weights of FCN and DeepLabV3 do."""
    sliding_window: SlidingWindow = field(default_factory=SlidingWindow)
    """Tiles, scales, mirror images."""

    def __post_init__(self) -> None:
        super().__post_init__()
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
        from pipeline.segment.shared.torch_scorer import class_segmenter

        return class_segmenter(
            self.net(device, threads), Preprocess(), lambda module, batch: module(batch)["out"], self.sliding_window,
            self.names, self.model,
        )  # fmt: skip


@spec
class TorchvisionMaskRcnn(_Torchvision):
    """One segment per object (Mask R-CNN, He et al. 2017, arXiv:1703.06870). Class 0 is the background. There is no
    sliding window: an object on the border of two tiles would become two. Each image goes alone, whatever run.batch."""

    arch: Literal["maskrcnn_resnet50_fpn", "maskrcnn_resnet50_fpn_v2"]
    """Name of the network in torchvision.models.detection."""
    side: Side = 1333
    """Longer side of the images that the network gets, in pixels; it resizes them to 800 x 1333 itself."""
    score: Share = 0.5
    """Minimum score of an object."""
    mask: Share = 0.5
    """Minimum probability of a pixel inside."""

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
