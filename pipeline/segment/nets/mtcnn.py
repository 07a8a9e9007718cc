"""What are MTCNN's three networks? Built as ONNX graphs from the weights that facenet-pytorch 2.6.0 ships.

The layers are those of `PNet`, `RNet` and `ONet` in its models/mtcnn.py; landmarks are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, TypeAlias

import onnx
from onnx import TensorProto, helper, numpy_helper

from pipeline.errors import WeightsError
from pipeline.segment.nets.torch_pickle import StateDict

Net: TypeAlias = Literal["pnet", "rnet", "onet"]

OUTPUTS: Final = ("offsets", "probabilities")
"""(n, 4, ...): how far each side of the box is off, as shares of its size. (n, 2, ...): no face, face."""

SIDES: Final[dict[Net, int]] = {"rnet": 24, "onet": 48}
"""Height and width that the second and the third network see, in pixels."""

_OPSET, _IR_VERSION = 17, 8

# conv N | prelu N | pool SIDE (stride 2, rounded up) | flat | dense N; then the two heads
_LAYERS: Final[dict[Net, tuple[str, str, str]]] = {
    "pnet": ("conv1 prelu1 pool2 conv2 prelu2 conv3 prelu3", "conv4_2", "conv4_1"),
    "rnet": ("conv1 prelu1 pool3 conv2 prelu2 pool3 conv3 prelu3 flat dense4 prelu4", "dense5_2", "dense5_1"),
    "onet": (
        "conv1 prelu1 pool3 conv2 prelu2 pool3 conv3 prelu3 pool2 conv4 prelu4 flat dense5 prelu5",
        "dense6_2",
        "dense6_1",
    ),
}


def graph(net: Net, weights: StateDict) -> onnx.ModelProto:
    """Input `pixels`: (n, 3, h, w) float32, (value - 127.5) / 128. Outputs: OUTPUTS. Raises WeightsError when a weight
    is missing or of another shape."""
    try:
        return _graph(net, weights)
    except (KeyError, onnx.shape_inference.InferenceError, onnx.checker.ValidationError) as error:
        raise WeightsError(f"these are not the weights of {net}: {' '.join(str(error).split())[:200]}") from error


def _graph(net: Net, weights: StateDict) -> onnx.ModelProto:
    made = _Graph(weights)
    body, offsets, probabilities = _LAYERS[net]
    last, flat = "pixels", False
    for layer in body.split():
        flat = flat or layer == "flat"
        last = made.add(layer, last, flat)
    made.node("Identity", [made.add(offsets, last, flat)], OUTPUTS[0])
    made.node("Softmax", [made.add(probabilities, last, flat)], OUTPUTS[1], axis=1)
    # The second and third network see crops of one size; only there does a dense layer's size come out right.
    size: list[str | int] = [SIDES[net]] * 2 if net in SIDES else ["h", "w"]
    places: list[str | int] = [] if flat else ["rows", "columns"]
    pixels = helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["n", 3, *size])
    outputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", channels, *places])
        for name, channels in zip(OUTPUTS, (4, 2), strict=True)
    ]
    whole = helper.make_graph(made.nodes, net, [pixels], outputs, made.tensors)
    model = helper.make_model(whole, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR_VERSION)
    onnx.checker.check_model(model, full_check=True)
    return model


class _Graph:
    def __init__(self, weights: StateDict) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.tensors: list[onnx.TensorProto] = []
        self._weights = weights

    def add(self, layer: str, source: str, flat: bool) -> str:
        """One layer by its name in the state dict; returns the name of its result."""
        result = f"{layer}:{len(self.nodes)}"
        if layer.startswith("conv"):
            self.node("Conv", [source, self._tensor(f"{layer}.weight"), self._tensor(f"{layer}.bias")], result)
        elif layer.startswith("dense"):
            inputs = [source, self._tensor(f"{layer}.weight"), self._tensor(f"{layer}.bias")]
            self.node("Gemm", inputs, result, transB=1)
        elif layer.startswith("prelu"):
            shape = (-1,) if flat else (-1, 1, 1)
            self.node("PRelu", [source, self._tensor(f"{layer}.weight", shape)], result)
        elif layer.startswith("pool"):
            side = int(layer.removeprefix("pool"))
            self.node("MaxPool", [source], result, kernel_shape=[side, side], strides=[2, 2], ceil_mode=1)
        else:  # facenet-pytorch flattens width, height, channels: the order of the weights' first home, Caffe
            self.node("Transpose", [source], f"{result}.turned", perm=[0, 3, 2, 1])
            self.node("Flatten", [f"{result}.turned"], result)
        return result

    def node(self, kind: str, inputs: Sequence[str], output: str, **attributes: int | list[int]) -> None:
        self.nodes.append(helper.make_node(kind, inputs, [output], None, None, None, None, **attributes))

    def _tensor(self, name: str, shape: tuple[int, ...] | None = None) -> str:
        array = self._weights[name]
        self.tensors.append(numpy_helper.from_array(array if shape is None else array.reshape(shape), name))
        return name
