"""torchvision's FCN, DeepLabV3, LR-ASPP and Mask R-CNN, where torchvision is installed.

It is in no extra: its wheel has to match the build of torch. Weights are .safetensors of the model's state_dict;
torchvision's own .pth are pickles, to be converted once where you trust them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from pipeline.contracts import Device
from pipeline.errors import ConfigError
from pipeline.networks.torch_options import TorchOptions, need
from pipeline.records import Segments, View
from pipeline.segment.classes import check_names, fit, mask_segments
from pipeline.segment.own_network import HotClasses
from pipeline.segment.parts import check_flag, check_number, check_whole, whole
from pipeline.segment.preprocess import Preprocess
from pipeline.view import Fit
from pipeline.weights import Weights

if TYPE_CHECKING:
    import torch

    from pipeline.segment.torch_instances import InstanceNet


@dataclass(frozen=True, kw_only=True)
class TorchvisionSemantic:
    """One segment for each class present.

    arch: of torchvision.models.segmentation. model: its state_dict as .safetensors. names: of class 0, 1, ...; "" is
    never a segment. side: the longer side that the network sees. auxiliary: the state holds the auxiliary classifier
    too, as torchvision's own weights of FCN and DeepLabV3 do. run: how torch runs.
    """

    arch: Literal[
        "fcn_resnet50", "fcn_resnet101", "deeplabv3_resnet50", "deeplabv3_resnet101", "deeplabv3_mobilenet_v3_large",
        "lraspp_mobilenet_v3_large",
    ]  # fmt: skip
    model: Weights
    names: tuple[str, ...]
    side: int = 520
    auxiliary: bool = True
    run: TorchOptions = field(default_factory=TorchOptions)

    def __post_init__(self) -> None:
        need("segment.torchvision", "torch", "safetensors", "torchvision")
        _check_model(self.model)
        check_names("torchvision.names", self.names)
        check_whole("torchvision.side", self.side, 32, 1 << 14)
        check_flag("torchvision.auxiliary", self.auxiliary)

    @property
    def view(self) -> Fit:
        return Fit(side=self.side, multiple=8, resample="area")

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(name for name in self.names if name)

    @property
    def weights(self) -> tuple[Weights, ...]:
        return (self.model,)

    def network(self) -> torch.nn.Module:
        from torchvision.models import get_model

        more = {} if self.arch.startswith("lraspp") else {"aux_loss": self.auxiliary}
        built: torch.nn.Module = get_model(
            self.arch, weights=None, weights_backbone=None, num_classes=len(self.names), **more
        )
        return built

    def check(self) -> None:
        """Raises WeightsError when the file holds another network."""
        from pipeline.segment.torch_net import check_file

        check_file(self.network(), self.model.fetch())

    def load(self, device: Device, threads: int) -> HotClasses:
        from pipeline.segment.torch_net import ClassNet, Net, fill_in

        net = Net(fill_in(self.network(), self.model.fetch()), device, threads, self.run)
        return HotClasses(ClassNet(net, Preprocess(), _out), self.names, self.model)


def _out(module: torch.nn.Module, batch: torch.Tensor) -> torch.Tensor:
    answer: torch.Tensor = module(batch)["out"]
    return answer


@dataclass(frozen=True, kw_only=True)
class TorchvisionMaskRcnn:
    """One segment a thing (Mask R-CNN, He et al. 2017, arXiv:1703.06870).

    arch, model, names, run as in TorchvisionSemantic; class 0 is the background. side: the longer side that is looked
    at; the network itself goes to 800 x 1333 from there. score: of a thing. mask: from which probability on a pixel is
    inside.
    """

    arch: Literal["maskrcnn_resnet50_fpn", "maskrcnn_resnet50_fpn_v2"]
    model: Weights
    names: tuple[str, ...]
    side: int = 1333
    score: float = 0.5
    mask: float = 0.5
    run: TorchOptions = field(default_factory=TorchOptions)

    def __post_init__(self) -> None:
        need("segment.torchvision", "torch", "safetensors", "torchvision")
        _check_model(self.model)
        check_names("torchvision.names", self.names)
        check_whole("torchvision.side", self.side, 32, 1 << 14)
        check_number("torchvision.score", self.score, 0, 1)
        check_number("torchvision.mask", self.mask, 0, 1)

    @property
    def view(self) -> Fit:
        return Fit(side=self.side, multiple=1, resample="area")

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(name for name in self.names if name))

    @property
    def weights(self) -> tuple[Weights, ...]:
        return (self.model,)

    def network(self) -> torch.nn.Module:
        from torchvision.models import get_model

        built: torch.nn.Module = get_model(
            self.arch, weights=None, weights_backbone=None, num_classes=len(self.names), box_score_thresh=self.score
        )
        return built

    def check(self) -> None:
        """Raises WeightsError when the file holds another network."""
        from pipeline.segment.torch_net import check_file

        check_file(self.network(), self.model.fetch())

    def load(self, device: Device, threads: int) -> HotMaskRcnn:
        from pipeline.segment.torch_instances import InstanceNet
        from pipeline.segment.torch_net import Net, fill_in

        net = Net(fill_in(self.network(), self.model.fetch()), device, threads, self.run)
        return HotMaskRcnn(self, InstanceNet(net, self.mask))


class HotMaskRcnn:
    def __init__(self, cold: TorchvisionMaskRcnn, net: InstanceNet) -> None:
        self._cold, self._net = cold, net

    def __call__(self, views: Sequence[View]) -> list[Segments]:
        return [
            mask_segments(
                list(self._net.masks(whole(view).pixels, fit(view.height, view.width))), view, self._cold.names,
                self._cold.model,
            )
            for view in views
        ]  # fmt: skip


def _check_model(model: object) -> None:
    if not isinstance(model, Weights) or model.path.suffix.lower() != ".safetensors":
        raise ConfigError(f"segment.torchvision.model: expected the weights of a .safetensors file, got {model!r}")
