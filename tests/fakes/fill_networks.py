"""Small networks with the interfaces of LaMa and MI-GAN, as ONNX or TorchScript files.

Each hidden pixel becomes the mean of the known ones around it, by two convolutions and a division.
"""

from __future__ import annotations

import warnings
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from pipeline.models.weights import Weights

Size = int | str


def weights(path: Path, **more: bool) -> Weights:
    return Weights(uri=path.as_uri(), sha256=sha256(path.read_bytes()).hexdigest(), licence="MIT", **more)


def lama(
    path: Path,
    *,
    white: float = 255.0,
    size: tuple[Size, Size] = (512, 512),
    batch: Size = "batch",
    names: tuple[str, str] = ("image", "mask"),
    bad: bool = False,
) -> Path:
    """image, mask -> output, as in Carve's export. bad: the output is NaN when more than 100 pixels are hidden."""
    image, mask = names
    nodes = [
        helper.make_node("Sub", ["one", mask], ["known"]),
        helper.make_node("Mul", [image, "known"], ["seen"]),
        *_means("seen", "known", "made"),
        helper.make_node("Mul", ["made", mask], ["made_hidden"]),
        helper.make_node("Add", ["seen", "made_hidden"], ["whole"]),
        helper.make_node("Mul", ["whole", "white"], ["plain"]),
        helper.make_node("ReduceSum", [mask], ["area"]),
        helper.make_node("Sub", ["few", "area"], ["room"]),
        helper.make_node("Sqrt", ["room"], ["root"]),
        helper.make_node("Mul", ["root", "nothing"], ["nan"]),
        helper.make_node("Add", ["plain", "nan" if bad else "nothing"], ["output"]),
    ]
    constants = {"white": white, "few": 100.0, "nothing": 0.0}
    shape: list[Size] = [batch, 3, *size]
    inputs = [_value(image, TensorProto.FLOAT, shape), _value(mask, TensorProto.FLOAT, [batch, 1, *size])]
    return _saved(path, nodes, inputs, _value("output", TensorProto.FLOAT, [batch, 3, "high", "wide"]), constants)


def migan(path: Path, *, channels: int = 3, shrunk: bool = False) -> Path:
    """image, mask (255 = known) -> result, all uint8 of any size. shrunk: the result has half the size."""
    nodes = [
        helper.make_node("Cast", ["image"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Cast", ["mask"], ["levels"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["levels", "white"], ["known"]),
        helper.make_node("Mul", ["floats", "known"], ["seen"]),
        *_means("seen", "known", "made"),
        helper.make_node("Sub", ["one", "known"], ["hidden"]),
        helper.make_node("Mul", ["made", "hidden"], ["made_hidden"]),
        helper.make_node("Add", ["seen", "made_hidden"], ["whole"]),
        helper.make_node("Cast", ["whole"], ["result" if not shrunk else "all"], to=TensorProto.UINT8),
        *([helper.make_node("Slice", ["all", "zeros", "ends", "axes", "steps"], ["result"])] if shrunk else []),
    ]
    arrays = {"zeros": [0, 0], "ends": [1 << 30, 1 << 30], "axes": [2, 3], "steps": [2, 2]}
    shape: list[Size] = ["n", channels, "h", "w"]
    inputs = [_value("image", TensorProto.UINT8, shape), _value("mask", TensorProto.UINT8, ["n", 1, "h", "w"])]
    output = _value("result", TensorProto.UINT8, ["n", 3, "oh", "ow"])
    return _saved(path, nodes, inputs, output, {"white": 255.0}, arrays if shrunk else {})


def generator(path: Path) -> Path:
    """x (known - 0.5, then RGB in -1..1) -> y, RGB in -1..1, painted over known pixels too."""
    nodes = [
        helper.make_node("Split", ["x", "parts"], ["half", "seen"], axis=1),
        helper.make_node("Add", ["half", "point5"], ["known"]),
        *_means("seen", "known", "y"),
    ]
    inputs = [_value("x", TensorProto.FLOAT, ["n", 4, 512, 512])]
    output = _value("y", TensorProto.FLOAT, ["n", 3, 512, 512])
    return _saved(path, nodes, inputs, output, {"point5": 0.5}, {"parts": [1, 3]})


def torchscript(path: Path) -> Path:
    """image, mask -> the output of LaMa on the scale 0..1, of any size."""
    import torch
    from torch.nn import functional

    class Means(torch.nn.Module):
        def forward(self, image: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
            known = 1 - mask
            total = functional.avg_pool2d(functional.avg_pool2d(image * known, 8), 9, stride=1, padding=4)
            count = functional.avg_pool2d(functional.avg_pool2d(known, 8), 9, stride=1, padding=4)
            made = functional.interpolate(total / torch.clamp(count, min=1e-6), scale_factor=8.0, mode="bilinear")
            return image * known + made * mask

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.save(torch.jit.script(Means()), str(path))
    return path


def _means(seen: str, known: str, made: str) -> list[onnx.NodeProto]:
    """The mean of the known pixels near each pixel, or of farther ones where none is near, in blocks of eight."""

    def pool(of: str, name: str, side: int, stride: int = 1) -> onnx.NodeProto:
        pads = [0 if stride > 1 else side // 2] * 4
        how: dict[str, Any] = {
            "kernel_shape": [side, side],
            "pads": pads,
            "strides": [stride, stride],
            "count_include_pad": 1,
        }
        return helper.make_node("AveragePool", [of], [name], **how)

    return [
        pool(seen, "blocks", 8, 8), pool(known, "counts", 8, 8),
        pool("blocks", "near", 5), pool("counts", "near_count", 5),
        pool("near", "far", 33), pool("near_count", "far_count", 33),
        helper.make_node("Mul", ["far", "faint"], ["faint_far"]),
        helper.make_node("Mul", ["far_count", "faint"], ["faint_count"]),
        helper.make_node("Add", ["near", "faint_far"], ["total"]),
        helper.make_node("Add", ["near_count", "faint_count"], ["sum"]),
        helper.make_node("Max", ["sum", "least"], ["count"]),
        helper.make_node("Div", ["total", "count"], ["coarse"]),
        helper.make_node("Resize", ["coarse", "", "eight"], [made], mode="linear"),
    ]  # fmt: skip


def _value(name: str, kind: int, shape: list[Size]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def _saved(
    path: Path,
    nodes: list[onnx.NodeProto],
    inputs: list[onnx.ValueInfoProto],
    output: onnx.ValueInfoProto,
    constants: dict[str, float],
    arrays: dict[str, list[int]] | None = None,
) -> Path:
    held = {"one": 1.0, "faint": 1e-3, "least": 1e-6, **constants}
    initial = [numpy_helper.from_array(np.array(value, np.float32), name) for name, value in held.items()]
    initial.append(numpy_helper.from_array(np.array([1, 1, 8, 8], np.float32), "eight"))
    initial += [numpy_helper.from_array(np.array(value, np.int64), name) for name, value in (arrays or {}).items()]
    graph = helper.make_graph(nodes, "means", inputs, [output], initial)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path
