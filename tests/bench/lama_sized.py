"""A network of big-lama's size (50 million parameters) with its interface and random weights. Its Fourier convolutions
are plain ones: the benchmark measures how a fill of that size is fed, not LaMa itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SIDE = 512


def lama_sized(path: Path) -> Path:
    """image (n, 3, 512, 512), mask (n, 1, 512, 512) -> output (n, 3, 512, 512) of 0..255."""
    random = np.random.default_rng(0)
    nodes: list[onnx.NodeProto] = [helper.make_node("Concat", ["image", "mask"], ["x"], axis=1)]
    weights: list[onnx.TensorProto] = [numpy_helper.from_array(np.array(255, np.float32), "white")]
    at = "x"

    def conv(near: int, far: int, kernel: int = 3, stride: int = 1, *, last: bool = False) -> str:
        name = f"conv{len(weights)}"
        values = random.normal(0, (2 / (near * kernel**2)) ** 0.5, (far, near, kernel, kernel)).astype(np.float32)
        weights.append(numpy_helper.from_array(values, f"{name}_w"))
        how: dict[str, Any] = {"kernel_shape": [kernel] * 2, "strides": [stride] * 2, "pads": [kernel // 2] * 4}
        nodes.append(helper.make_node("Conv", [at, f"{name}_w"], [f"{name}_y"], **how))
        if not last:
            nodes.append(helper.make_node("Relu", [f"{name}_y"], [name]))
        return f"{name}_y" if last else name

    at = conv(4, 64, 7)
    for near in (64, 128, 256):
        at = conv(near, 2 * near, stride=2)
    for number in range(10):
        before = at
        at = conv(512, 512)
        at = conv(512, 512, last=True)
        nodes.append(helper.make_node("Mul", [at, "tenth"], [f"small{number}"]))
        nodes.append(helper.make_node("Add", [before, f"small{number}"], [f"block{number}"]))
        at = f"block{number}"
    weights.append(numpy_helper.from_array(np.array(0.1, np.float32), "tenth"))
    weights.append(numpy_helper.from_array(np.array([1, 1, 2, 2], np.float32), "twice"))
    for near in (512, 256, 128):
        nodes.append(helper.make_node("Resize", [at, "", "twice"], [f"up{near}"], mode="nearest"))
        at = f"up{near}"
        at = conv(near, near // 2)
    at = conv(64, 3, 7, last=True)
    nodes.append(helper.make_node("Mul", [at, "tenth"], ["calm"]))  # near grey, as check() wants it of grey
    nodes.append(helper.make_node("Sigmoid", ["calm"], ["likely"]))
    nodes.append(helper.make_node("Mul", ["likely", "white"], ["output"]))
    shape = ("n", 3, SIDE, SIDE)
    inputs = [
        helper.make_tensor_value_info("image", TensorProto.FLOAT, shape),
        helper.make_tensor_value_info("mask", TensorProto.FLOAT, ("n", 1, SIDE, SIDE)),
    ]
    graph = helper.make_graph(
        nodes, "sized", inputs, [helper.make_tensor_value_info("output", TensorProto.FLOAT, shape)], weights
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path
