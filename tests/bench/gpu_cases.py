"""The networks of the GPU benchmark: shapes of well-known models with random weights, made without a download."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import cv2
import torch

from pipeline import build
from pipeline.flow import crop, decode, segment, select
from pipeline.models.torch_options import TorchOptions
from pipeline.records import Cropped, Device
from pipeline.segment.shared.torch_runner import Net
from tests.fakes.drawn_images import drawing

ADE20K: Final = 150


class MissingPartError(Exception):
    """Why a case cannot run here."""


@dataclass(frozen=True, kw_only=True)
class Made:
    """overrides: of the job. bare: one call over a preloaded batch, and waits for it. batch: images of such a call."""

    overrides: list[str]
    bare: Callable[[], None]
    batch: int


@dataclass(frozen=True, kw_only=True)
class Case:
    """job: annotate or clean. what: for the table. size: height and width of the images. batch: images of one call.
    unit: images that are committed together. make: of a folder for weights and such images, and the device."""

    name: str
    job: str
    what: str
    batch: int
    unit: int
    make: Callable[[Path, Case, Device], Made]
    size: tuple[int, int] = (1024, 1366)
    tiny: bool = False

    def small(self) -> Case:
        """The same with a network and images of a few pixels."""
        return replace(self, batch=2, unit=2, size=(96, 128), tiny=True)


def photographs(folder: Path, count: int, size: tuple[int, int]) -> Path:
    """JPEGs of a red disc and a blue square on noise; sixteen different ones, the others are links to them."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        file = folder / f"{number:06}.jpg"
        if file.exists():
            continue
        if number < 16:
            pixels, _ = drawing(number, *size)
            cv2.imwrite(str(file), pixels[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 90])
        else:
            file.hardlink_to(folder / f"{number % 16:06}.jpg")
    return folder


def _options(device: Device, batch: int) -> TorchOptions:
    fast = device == "cuda"
    return TorchOptions(precision="bfloat16" if fast else "float32", channels_last=fast, batch=batch)


def _said(family: str, options: TorchOptions) -> list[str]:
    keys = ("precision", "channels_last", "batch")
    return [f"segment.{family}.run.{key}={getattr(options, key)}" for key in keys]


def _over(
    module: torch.nn.Module, options: TorchOptions, device: Device, seen: tuple[int, int], answer: str
) -> Callable[[], None]:
    """Calls the network with numbers that are on the device already. seen: height and width. answer: the field of its
    output, or none."""
    net = Net(module, device, 1, options)
    layout = torch.channels_last if options.channels_last else torch.contiguous_format
    batch = torch.rand(options.batch, 3, *seen, device=net.device).contiguous(memory_format=layout)

    def call() -> None:
        found = net.run(lambda module: module(batch))
        _ = getattr(found, answer) if answer else found
        if device == "cuda":
            torch.cuda.synchronize()

    return call


def _weights(file: Path) -> list[str]:
    return [f"uri={file.as_uri()}", f"sha256={sha256(file.read_bytes()).hexdigest()}", "licence=MIT"]


def _segformer(size: str, side: int) -> Callable[[Path, Case, Device], Made]:
    def make(folder: Path, case: Case, device: Device) -> Made:
        if find_spec("transformers") is None:
            raise MissingPartError("transformers is not installed")
        import transformers

        from tests.fakes import hf_checkpoints

        shape = {
            "b0": {"depths": [2, 2, 2, 2], "hidden_sizes": [32, 64, 160, 256], "decoder_hidden_size": 256},
            "b5": {"depths": [3, 6, 40, 3], "hidden_sizes": [64, 128, 320, 512], "decoder_hidden_size": 768},
        }[size]
        torch.manual_seed(0)
        config = transformers.SegformerConfig(num_labels=ADE20K, **shape)
        module = hf_checkpoints.segformer() if case.tiny else transformers.SegformerForSemanticSegmentation(config)
        seen = 64 if case.tiny else side
        hf_checkpoints.saved(module, folder / "checkpoint", {"height": seen, "width": seen})
        options = _options(device, case.batch)
        where = hf_checkpoints.local("hf_semantic", folder / "checkpoint")
        return Made(
            overrides=[*where, *_said("hf_semantic", options)],
            bare=_over(module, options, device, (seen, seen), "logits"),
            batch=case.batch,
        )

    return make


def _unet(folder: Path, case: Case, device: Device) -> Made:
    from safetensors.torch import save_file

    from pipeline.segment.nets.unet import UNet

    torch.manual_seed(0)
    width, depth, side = (4, 1, 64) if case.tiny else (64, 4, 512)
    module = UNet(classes=21, width=width, depth=depth)
    file = folder / "unet.safetensors"
    save_file({name: value.contiguous() for name, value in module.state_dict().items()}, file)
    options = _options(device, case.batch)
    names = "[" + ",".join(f"c{number}" for number in range(21)) + "]"
    values = [f"names={names}", f"width={width}", f"depth={depth}", f"side={side}"]
    dotted = [f"segment.unet.{value}" for value in (*values, *(f"model.{one}" for one in _weights(file)))]
    return Made(
        overrides=["segment=[unet]", *dotted, *_said("unet", options)],
        bare=_over(module, options, device, (side * 3 // 4, side), ""),
        batch=case.batch,
    )


def _lama(folder: Path, case: Case, device: Device) -> Made:
    if device == "cuda":
        import onnxruntime

        if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
            raise MissingPartError("onnxruntime has no CUDA here; install onnxruntime-gpu")
    from tests.bench.lama_sized import lama_sized
    from tests.fakes.fill_networks import lama

    file = lama(folder / "lama.onnx") if case.tiny else lama_sized(folder / "lama.onnx")
    overrides = ["fill=lama", f"fill.windowing.batch={case.batch}", *(f"fill.model.{one}" for one in _weights(file))]
    return _filling(overrides, folder, case, device)


def _diffusion(folder: Path, case: Case, device: Device) -> Made:
    if find_spec("diffusers") is None:
        raise MissingPartError("diffusers is not installed")
    from tests.bench.sd_sized import sd_sized
    from tests.fakes.diffusers_pipelines import files_of, saved

    model = saved("sd", folder / "sd") if case.tiny else sd_sized(folder / "sd")
    files = ",".join(files_of(model))
    side, steps = (64, 2) if case.tiny else (512, 20)
    values = [f"model.folder={model}", "model.licence=MIT", f"model.files=[{files}]", "prompt=a wall", f"steps={steps}"]
    values += [f"windowing.side={side}", f"windowing.overlap={side // 8}", f"windowing.batch={case.batch}"]
    return _filling(["fill=diffusion/local", *(f"fill.{value}" for value in values)], folder, case, device)


def _filling(fill: Sequence[str], folder: Path, case: Case, device: Device) -> Made:
    """Discs and squares are found by a small U-Net that has learnt them. bare: the loaded fill over crops that are in
    memory; what it does to them on the CPU is a part of it."""
    from tests.fakes.large_image_run import trained

    overrides = [*fill, *trained(folder), "segment=[unet]", "select=all", "render=filled", "sink=tar", "audit=none"]
    images = photographs(folder / "crops", case.batch, case.size)
    places = [f"source.uri={images}", f"sink.uri={folder / 'nothing'}", "execute=local"]
    flow = build.build(build.compose("clean", [*places, *overrides])).flow
    shards = flow.source.shards()
    worker = replace(flow, source=flow.source.resolve(shards)).load(device, 1)
    (unit,) = worker.flow.source.units(shards[0], {})
    cut = crop(worker, select(worker, segment(worker, decode(worker, unit))))
    crops = [one for item in cut.items if isinstance(item, Cropped) for one in item.crops]
    if not crops:
        raise MissingPartError("nothing was found to be filled")

    def call() -> None:
        worker.fill(crops)

    return Made(overrides=overrides, bare=call, batch=case.batch)


_SMALLER: Final = (512, 683)
"""Of images to be filled: each hole fits one window."""
CASES: Final = (
    *(
        Case(
            name=f"segformer_{size}_{side}", job="annotate", what=f"SegFormer-{size.upper()} at {side} x {side}",
            batch=batch, unit=2 * batch, make=_segformer(size, side),
        )
        for size, side, batch in (("b0", 512, 32), ("b0", 1024, 16), ("b5", 512, 32), ("b5", 1024, 8))
    ),
    Case(name="unet_512", job="annotate", what="U-Net, width 64, at 512 x 384", batch=16, unit=32, make=_unet),
    Case(name="lama_512", job="clean", what="a fill of LaMa's size", batch=8, unit=8, make=_lama, size=_SMALLER),
    Case(
        name="sd_512", job="clean", what="a fill of Stable Diffusion 1.5's size, 20 steps", batch=4, unit=4,
        make=_diffusion, size=_SMALLER,
    ),
)  # fmt: skip
