"""A small ONNX segmenter in every form that a config can describe, and the overrides that describe it."""

import hashlib
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def network(path: Path, result: str, layout: str, size: tuple[int, int] = (96, 128), channels: int = 3) -> Path:
    """What is red is a disc, what is blue a square: scores of three classes from a convolution of one pixel."""
    kernel = np.zeros((3, 3, 1, 1), np.float32)
    kernel[1, :, 0, 0], kernel[2, :, 0, 0] = (8, -4, -4), (-4, -4, 8)
    nodes, at = [], "x"
    if layout == "nhwc":
        nodes.append(helper.make_node("Transpose", ["x"], ["planes"], perm=[0, 3, 1, 2]))
        at = "planes"
    nodes.append(helper.make_node("Conv", [at, "kernel", "bias"], ["scores"]))
    shape: list[str | int | None] = ["n", 3, *size]
    kind = TensorProto.FLOAT
    if result in ("probabilities", "binary"):
        nodes.append(helper.make_node("Softmax", ["scores"], ["likely"], axis=1))
    if result == "binary":
        nodes.append(helper.make_node("Gather", ["likely", "one"], ["y"], axis=1))
        shape = ["n", *size]
    elif result == "label_map":
        nodes.append(helper.make_node("ArgMax", ["scores"], ["y"], axis=1, keepdims=0))
        shape, kind = ["n", *size], TensorProto.INT64
    else:
        last = nodes[-1].output[0]
        if layout == "nhwc":
            nodes.append(helper.make_node("Transpose", [last], ["y"], perm=[0, 2, 3, 1]))
            shape = ["n", *size, 3]
        else:
            nodes.append(helper.make_node("Identity", [last], ["y"]))
    seen: list[str | int | None] = ["n", channels, *size] if layout == "nchw" else ["n", *size, channels]
    weights = [
        numpy_helper.from_array(kernel, "kernel"),
        numpy_helper.from_array(np.array([3, 0, 0], np.float32), "bias"),
        numpy_helper.from_array(np.array(1), "one"),
    ]
    graph = helper.make_graph(
        nodes,
        "colours",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, seen)],
        [helper.make_tensor_value_info("y", kind, shape)],
        weights,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


def described(path: Path, result: str, layout: str = "nchw", names: str = "[ground,disc,square]") -> list[str]:
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    values = {
        "model.uri": path.as_uri(), "model.sha256": sha256, "model.licence": "MIT", "names": names, "result": result,
        "layout": layout, "height": 96, "width": 128, "mean": "[0,0,0]", "std": "[1,1,1]",
    }  # fmt: skip
    return ["segment=[onnx_model]", *(f"segment.onnx_model.{key}={value}" for key, value in values.items())]
