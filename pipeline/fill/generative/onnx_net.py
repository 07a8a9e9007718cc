"""The network of generative_net.py as an ONNX graph, made of its weights alone: what runs needs no torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from safetensors import SafetensorError
from safetensors.numpy import load_file

from pipeline.errors import ConfigError
from pipeline.fill.generative import layout as plan

OPSET: Final = 17
INPUT: Final = "window"
OUTPUT: Final = "painted"


def graph(weights: Mapping[str, NDArray[np.floating]]) -> onnx.ModelProto:
    """weights: by the names of the torch network, of any precision; computed in float32. Input and output: as
    `Generator`. Raises ConfigError when names, shapes or values are not those of this network."""
    check(weights)
    made = _Graph(weights)
    share = made.node(
        "AveragePool", made.channels(INPUT, 3, 4), kernel_shape=[plan.MULTIPLE] * 2, strides=[plan.MULTIPLE] * 2
    )
    bias = made.node("Mul", made.flat(share, 1), made.real("unknown", plan.UNKNOWN))
    quarter = made.plain("middle", made.gated("down1", made.gated("stem", INPUT, plan.STEM, stride=2), 3, stride=2))
    deep = made.gated("down2", quarter, 3, stride=2)
    for number, dilation in enumerate(plan.BODY):
        deep = made.node("Add", deep, made.gated(f"body.{number}", deep, 3, dilation=dilation))
        if number in plan.ATTEND:
            deep = made.node("Add", deep, made.attention(f"attend.{plan.ATTEND.index(number)}", deep, bias))
    quarter = made.node("Add", quarter, made.enlarged(made.conv("up1", deep, 1)))
    quarter = made.plain("middle2", made.plain("middle1", quarter))
    painted = made.smooth(made.conv("paint", quarter, 3), plan.COARSE)
    total = made.node("Add", made.channels(INPUT, *plan.SKETCH), made.channels(painted, 0, 3))
    for at, span, trust in plan.COPIES:
        share = made.node("Add", made.channels(painted, at, at + 1), made.real(f"trust{at}", trust))
        total = made.node("Add", total, made.node("Mul", made.channels(INPUT, *span), share))
    made.node("Identity", total, name=OUTPUT)
    return made.model()


def read(file: Path) -> dict[str, NDArray[np.floating]]:
    """The tensors of a safetensors file by name. Raises ConfigError."""
    try:
        tensors: dict[str, NDArray[np.floating]] = load_file(file)
        return tensors
    except (SafetensorError, KeyError, ValueError) as error:  # bfloat16 is a KeyError: numpy has none
        raise ConfigError(f"fill.model: {file.name}: not a safetensors file that can be read: {error}") from error


class _Graph:
    """Nodes one after the other, each named by its number; what they return is the name of their answer."""

    def __init__(self, weights: Mapping[str, NDArray[np.floating]]) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._held = {name: np.asarray(value, np.float32) for name, value in weights.items()}
        self._constants: dict[str, NDArray[np.generic]] = {}

    def node(self, kind: str, *inputs: str, name: str = "", **attributes: Any) -> str:
        name = name or f"{kind}{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, inputs, [name], **attributes))
        return name

    def channels(self, x: str, first: int, last: int) -> str:
        """Some of them."""
        return self.node("Slice", x, *self.whole(f"from{first}", [first], f"to{last}", [last], "axis", [1]))

    def conv(self, layer: str, x: str, side: int, *, stride: int = 1, dilation: int = 1) -> str:
        steps: dict[str, Any] = {
            "strides": [stride] * 2,
            "dilations": [dilation] * 2,
            "pads": [dilation * (side // 2)] * 4,
        }
        return self.node("Conv", x, f"{layer}.weight", f"{layer}.bias", kernel_shape=[side, side], **steps)

    def silu(self, x: str) -> str:
        return self.node("Mul", x, self.node("Sigmoid", x))

    def gated(self, layer: str, x: str, side: int, *, stride: int = 1, dilation: int = 1) -> str:
        both = self.conv(f"{layer}.conv", x, side, stride=stride, dilation=dilation)
        value, gate = f"{both}.value", f"{both}.gate"
        self._nodes.append(helper.make_node("Split", [both], [value, gate], axis=1))
        return self.node("Mul", self.silu(value), self.node("Sigmoid", gate))

    def plain(self, layer: str, x: str) -> str:
        return self.node("Add", x, self.silu(self.conv(f"{layer}.conv", x, 3)))

    def enlarged(self, x: str) -> str:
        """torch's pixel_shuffle."""
        return self.node("DepthToSpace", x, blocksize=2, mode="CRD")

    def smooth(self, x: str, times: int) -> str:
        """torch's bilinear interpolation, so many times as large."""
        self._constants["times"] = np.array([1, 1, times, times], np.float32)
        return self.node("Resize", x, "", "times", mode="linear", coordinate_transformation_mode="half_pixel")

    def flat(self, x: str, channels: int) -> str:
        """(n, channels, h, w) to (n, channels, h * w)."""
        return self.node("Reshape", x, *self.whole(f"flat{channels}", [0, channels, -1]))

    def attention(self, layer: str, x: str, bias: str) -> str:
        width = self._held[f"{layer}.out.bias"].shape[0]
        query = self.flat(self.conv(f"{layer}.query", x, 1), plan.KEYS)
        key = self.flat(self.conv(f"{layer}.key", x, 1), plan.KEYS)
        value = self.flat(self.conv(f"{layer}.value", x, 1), width)
        alike = self.node("MatMul", self.node("Transpose", query, perm=[0, 2, 1]), key)
        logits = self.node("Add", self.node("Mul", alike, self.real("scale", plan.KEYS**-0.5)), bias)
        shares = self.node("Transpose", self.node("Softmax", logits, axis=-1), perm=[0, 2, 1])
        taken = self.node("Reshape", self.node("MatMul", value, shares), self.node("Shape", x))
        return self.conv(f"{layer}.out", taken, 1)

    def real(self, name: str, value: float) -> str:
        self._constants[name] = np.array(value, np.float32)
        return name

    def whole(self, *named: str | list[int]) -> list[str]:
        """name, numbers, name, numbers, ... -> the names of the constants."""
        names = [str(name) for name in named[::2]]
        for name, numbers in zip(names, named[1::2], strict=True):
            self._constants[name] = np.array(numbers, np.int64)
        return names

    def model(self) -> onnx.ModelProto:
        held = [numpy_helper.from_array(np.asarray(v), k) for k, v in {**self._held, **self._constants}.items()]
        ends = [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", channels, "h", "w"])
            for name, channels in ((INPUT, plan.CHANNELS), (OUTPUT, 3))
        ]
        made = helper.make_graph(self._nodes, "generative", ends[:1], ends[1:], held)
        model = helper.make_model(made, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
        onnx.checker.check_model(model)
        return model


def check(weights: Mapping[str, NDArray[np.floating]]) -> None:
    """Raises ConfigError unless these are weights of this network."""
    expected = plan.shapes()
    if odd := sorted(expected.keys() ^ weights.keys()):
        kind = "it lacks" if odd[0] in expected else "it has"
        raise ConfigError(
            f"fill.model: expected the {len(expected)} tensors of the generative network; {kind} {odd[0]}"
        )
    for name, shape in expected.items():
        if weights[name].shape != shape:
            raise ConfigError(f"fill.model: {name}: expected shape {shape}, got {weights[name].shape}")
        if not np.isfinite(weights[name]).all():
            raise ConfigError(f"fill.model: {name}: expected finite numbers; the file is damaged or training diverged")
