"""Makes an ONNX graph of a .tflite network, in float32 and for images of any size.

Why a graph, and not LiteRT beside onnxruntime: one runtime means one set of rules for threads, devices, memory and
repeatable bytes; it runs on CUDA too; and a convolutional network sees images of other sizes than its file says, which
LiteRT cannot where the file holds sizes as constants: 545 x 721 pixels instead of 513 x 513 on streets. The price is
time; CPU time of LiteRT 2.3.0 and of this graph on one core (AMD EPYC, AVX2, a busy machine):

    deeplab_v3 (float32, 257 x 257)          28 ms    38 ms
    selfie_segmenter (float16, 256 x 256)     7 ms     9 ms
    object_detector (int8, 320 x 320)        43 ms    68 ms
    Cityscapes (uint8, 513 x 513)           179 ms   183 ms
    MOSAIC (uint8, 512 x 512)               151 ms   178 ms

Quantized networks keep the clip to each tensor's range, but are not rounded: in files of TensorFlow's older converters
a rectifier hides in that range, and without the clip such a network is right on a tenth of its pixels.
tests/unit/models/test_tflite_graph.py holds every file that a yaml names against LiteRT.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
import onnx
import tflite
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from pipeline.errors import WeightsError, one_line
from pipeline.models.tflite_file import Network, Operator, Tensor, read

_OPSET: Final = 17
_AXES: Final = (0, 2, 3, 1)
"""Of batch, height, width, channels in ONNX's order."""
_SAME: Final = tflite.Padding.SAME
_ACTIVATIONS: Final[Mapping[int, tuple[float, float]]] = {
    tflite.ActivationFunctionType.NONE: (-math.inf, math.inf),
    tflite.ActivationFunctionType.RELU: (0.0, math.inf),
    tflite.ActivationFunctionType.RELU6: (0.0, 6.0),
    tflite.ActivationFunctionType.RELU_N1_TO_1: (-1.0, 1.0),
}


def load_tflite(file: Path, outputs: Sequence[str] = ()) -> onnx.ModelProto:
    """The network as an ONNX graph with free batch, height and width.

    outputs: names of tensors to answer with, by default the file's own outputs; operators behind them are left out. The
    input is (n, 3, h, w) float32 in what the network's numbers mean: for one with uint8 input those of its scale. An
    answer of four axes is (n, channels, h, w); ARG_MAX of it is (n, h, w) int64.
    Raises WeightsError for an operator that is not supported, by name.
    """
    network = read(file)
    try:
        return _Graph(network, file.name, outputs).model()
    except WeightsError:
        raise
    except Exception as error:  # tensors or options that contradict each other
        raise WeightsError(f"{file.name}: not a readable .tflite file: {one_line(error)}") from error


class _Graph:
    def __init__(self, network: Network, name: str, outputs: Sequence[str]) -> None:
        self.tensors, self.name = network.tensors, name
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, NDArray[Any]] = {}
        self.folded: dict[int, NDArray[Any]] = {}  # constants that an operator computes from constants
        self.names: dict[int, str] = {}  # of tensors that are computed
        self.first: dict[tuple[int, ...], int] = {}  # height and width in the file -> the first tensor that has them
        if len(network.inputs) != 1 or len(self.tensors[network.inputs[0]].shape) != 4:
            raise WeightsError(f"{name}: expected one input, an image, got {len(network.inputs)}")
        (self.input,) = network.inputs
        self.names[self.input] = "image"
        self._seen(self.input)
        self.outputs = [self._position(output) for output in outputs] or list(network.outputs)
        for operator in _needed(network.operators, self.outputs):
            self._add(operator)

    def model(self) -> onnx.ModelProto:
        answers = []
        for position in self.outputs:
            tensor = self.tensors[position]
            name = tensor.name or f"t{position}"
            self.nodes.append(helper.make_node("Identity", [self.names[position]], [name]))
            whole = tensor.dtype.kind == "i" and not tensor.quantized
            answers.append(
                helper.make_tensor_value_info(name, TensorProto.INT64 if whole else TensorProto.FLOAT, _sizes(tensor))
            )
        channels = self.tensors[self.input].shape[3]
        graph = helper.make_graph(
            self.nodes,
            self.name,
            [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", channels, "h", "w"])],
            answers,
            [numpy_helper.from_array(np.ascontiguousarray(value), name) for name, value in self.constants.items()],
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=8)

    def _position(self, output: str) -> int:
        for position, tensor in enumerate(self.tensors):
            if tensor.name == output:
                return position
        raise WeightsError(f"{self.name}: has no tensor {output!r}")

    def _add(self, operator: Operator) -> None:
        if operator.kind not in _KINDS:
            raise WeightsError(
                f"{self.name}: operator {operator.kind} is not supported; convert the network to .onnx with the tools "
                "of its framework"
            )
        if operator.kind == "DEQUANTIZE" and self.tensors[operator.inputs[0]].data is not None:
            self.folded[operator.outputs[0]] = self.tensors[operator.inputs[0]].values()
            return
        _KINDS[operator.kind](self, operator)
        for position in operator.outputs:
            self._seen(position)

    def _seen(self, position: int) -> None:
        shape = self.tensors[position].shape
        if len(shape) == 4:
            self.first.setdefault(shape[1:3], position)

    # What operators are made of.

    def constant(self, position: int) -> NDArray[Any]:
        return self.folded[position] if position in self.folded else self.tensors[position].values()

    def held(self, value: NDArray[Any]) -> str:
        """The name of a constant of the graph."""
        name = f"c{len(self.constants)}"
        self.constants[name] = value
        return name

    def operand(self, position: int) -> str:
        """The name of an input that may be a constant, in ONNX's order of axes."""
        if position in self.names:
            return self.names[position]
        value = np.asarray(self.constant(position))
        return self.held(value.transpose(0, 3, 1, 2) if value.ndim == 4 else value.reshape(-1, 1, 1))

    def node(self, kind: str, inputs: Sequence[str], **attributes: Any) -> str:
        """Add a node with one output; return the output's name."""
        name = f"n{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def done(self, operator: Operator, name: str, *, activation: int = 0) -> None:
        """`name` is the operator's output, before its activation and the clip to its tensor's range."""
        if activation not in _ACTIVATIONS:
            raise WeightsError(f"{self.name}: activation {activation} of {operator.kind} is not supported")
        (output,) = operator.outputs
        low, high = _ACTIVATIONS[activation]
        tensor = self.tensors[output]
        if tensor.quantized and not all(_same_range(self.tensors[one], tensor) for one in operator.inputs if one >= 0):
            low, high = max(low, tensor.range[0]), min(high, tensor.range[1])
        if (low, high) == (0.0, math.inf):
            name = self.node("Relu", [name])
        elif math.isfinite(low) or math.isfinite(high):
            ends = [self.held(np.array(end, np.float32)) if math.isfinite(end) else "" for end in (low, high)]
            name = self.node("Clip", [name, *ends])
        self.names[output] = name

    def size_of(self, operator: Operator) -> tuple[str, bool]:
        """Height and width (2,) that an operator's output has, taken from another tensor of that size so that it
        follows the image's size; and whether they are those of the operator's own input."""
        (output,) = operator.outputs
        wanted = self.tensors[output].shape[1:3]
        if wanted not in self.first:
            raise WeightsError(f"{self.name}: {operator.kind} to {wanted}, a size that no tensor before it has")
        source = self.first[wanted]
        same = self.tensors[operator.inputs[0]].shape[1:3] == wanted
        return self.node("Shape", [self.names[source]], start=2, end=4), same

    def padding(self, options: Any, window: tuple[int, int], dilation: tuple[int, int] = (1, 1)) -> dict[str, Any]:
        """TensorFlow's paddings as attributes: SAME depends on the image's size where the stride is above 1."""
        if options.Padding() != _SAME:
            return {}
        if (options.StrideH(), options.StrideW()) != (1, 1):
            return {"auto_pad": "SAME_UPPER"}
        reach = [step * (side - 1) for side, step in zip(window, dilation, strict=True)]
        return {"pads": [one // 2 for one in reach] + [one - one // 2 for one in reach]}


def _conv(graph: _Graph, operator: Operator) -> None:
    image, kernel = operator.inputs[:2]
    options, weight = operator.options, graph.constant(kernel)
    depthwise = operator.kind == "DEPTHWISE_CONV_2D"
    weight = weight.transpose(3, 0, 1, 2) if depthwise else weight.transpose(0, 3, 1, 2)
    channels = graph.tensors[image].shape[3]
    inputs = [graph.names[image], graph.held(weight)]
    if len(operator.inputs) > 2 and operator.inputs[2] >= 0:
        inputs.append(graph.held(graph.constant(operator.inputs[2])))
    dilation = (options.DilationHFactor(), options.DilationWFactor())
    made = graph.node(
        "Conv",
        inputs,
        strides=[options.StrideH(), options.StrideW()],
        dilations=dilation,
        group=channels if depthwise else channels // weight.shape[1],
        **graph.padding(options, weight.shape[2:], dilation),
    )
    graph.done(operator, made, activation=options.FusedActivationFunction())


def _transposed_conv(graph: _Graph, operator: Operator) -> None:
    """MediaPipe's own: options are padding, stride across, stride down as int32; kernels that meet without overlap."""
    image, kernel, bias = operator.inputs
    weight = graph.constant(kernel)
    stride = np.frombuffer(operator.custom[4:12], np.int32).tolist()
    if list(weight.shape[1:3]) != stride[::-1]:
        raise WeightsError(f"{graph.name}: {operator.kind} with overlap is not supported")
    inputs = [graph.names[image], graph.held(weight.transpose(3, 0, 1, 2)), graph.held(graph.constant(bias))]
    graph.done(operator, graph.node("ConvTranspose", inputs, strides=stride[::-1]))


def _pool(graph: _Graph, operator: Operator) -> None:
    options, (image,) = operator.options, operator.inputs
    window = (options.FilterHeight(), options.FilterWidth())
    mean = operator.kind == "AVERAGE_POOL_2D"
    if mean and graph.tensors[operator.outputs[0]].shape[1:3] == (1, 1) and graph.tensors[image].shape[1:3] == window:
        made = graph.node("GlobalAveragePool", [graph.names[image]])
    else:
        made = graph.node(
            "AveragePool" if mean else "MaxPool",
            [graph.names[image]],
            kernel_shape=window,
            strides=[options.StrideH(), options.StrideW()],
            **graph.padding(options, window),
        )
    graph.done(operator, made, activation=options.FusedActivationFunction())


def _resize(graph: _Graph, operator: Operator) -> None:
    options, image = operator.options, operator.inputs[0]
    size, same = graph.size_of(operator)
    linear = operator.kind == "RESIZE_BILINEAR"
    if same:
        made = graph.names[image]
    elif graph.tensors[image].shape[1:3] == (1, 1):
        made = _spread(graph, image, size)
    else:
        corners, centres = options.AlignCorners(), options.HalfPixelCenters()
        front = graph.node("Shape", [graph.names[image]], start=0, end=2)
        made = graph.node(
            "Resize",
            [graph.names[image], "", "", graph.node("Concat", [front, size], axis=0)],
            mode="linear" if linear else "nearest",
            coordinate_transformation_mode="align_corners" if corners else "half_pixel" if centres else "asymmetric",
            nearest_mode="round_prefer_ceil" if corners or centres else "floor",
        )
    graph.done(operator, made)


def _spread(graph: _Graph, image: int, size: str) -> str:
    front = graph.node("Shape", [graph.names[image]], start=0, end=2)
    return graph.node("Expand", [graph.names[image], graph.node("Concat", [front, size], axis=0)])


def _tile(graph: _Graph, operator: Operator) -> None:
    before, after = (graph.tensors[one].shape for one in (operator.inputs[0], operator.outputs[0]))
    if len(before) != 4 or before[1:3] != (1, 1) or (before[0], before[3]) != (after[0], after[3]):
        raise WeightsError(f"{graph.name}: TILE of {before} to {after} is not supported")
    graph.done(operator, _spread(graph, operator.inputs[0], graph.size_of(operator)[0]))


def _both(graph: _Graph, operator: Operator) -> None:
    kind = {"ADD": "Add", "MUL": "Mul"}[operator.kind]
    made = graph.node(kind, [graph.operand(one) for one in operator.inputs])
    graph.done(operator, made, activation=operator.options.FusedActivationFunction())


def _concatenate(graph: _Graph, operator: Operator) -> None:
    axis = _axis(operator.options.Axis(), graph.tensors[operator.outputs[0]])
    made = graph.node("Concat", [graph.operand(one) for one in operator.inputs], axis=axis)
    graph.done(operator, made, activation=operator.options.FusedActivationFunction())


def _split(graph: _Graph, operator: Operator) -> None:
    axis, image = operator.inputs
    names = [f"n{len(graph.nodes)}_{number}" for number in range(len(operator.outputs))]
    where = _axis(int(graph.constant(axis)), graph.tensors[image])
    graph.nodes.append(helper.make_node("Split", [graph.names[image]], names, axis=where))
    graph.names.update(zip(operator.outputs, names, strict=True))


def _reshape(graph: _Graph, operator: Operator) -> None:
    image, (output,) = operator.inputs[0], operator.outputs
    before, after = graph.tensors[image].shape, graph.tensors[output].shape
    if len(before) != 4 or len(after) != 3 or before[0] != after[0]:
        raise WeightsError(f"{graph.name}: RESHAPE of {before} to {after} is not supported")
    plain = graph.node("Transpose", [graph.names[image]], perm=[0, 2, 3, 1])
    graph.done(operator, graph.node("Reshape", [plain, graph.held(np.array([0, -1, after[2]], np.int64))]))


def _arg_max(graph: _Graph, operator: Operator) -> None:
    image, axis = operator.inputs
    where = _axis(int(graph.constant(axis)), graph.tensors[image])
    graph.names[operator.outputs[0]] = graph.node("ArgMax", [graph.names[image]], axis=where, keepdims=0)


def _one(kind: str) -> _Make:
    def make(graph: _Graph, operator: Operator) -> None:
        graph.done(operator, graph.node(kind, [graph.names[operator.inputs[0]]]))

    return make


def _nothing(graph: _Graph, operator: Operator) -> None:
    """QUANTIZE and DEQUANTIZE of an answer: only its range may change."""
    graph.done(operator, graph.names[operator.inputs[0]])


_Make: TypeAlias = Callable[[_Graph, Operator], None]
_KINDS: Final[Mapping[str, _Make]] = {
    "CONV_2D": _conv,
    "DEPTHWISE_CONV_2D": _conv,
    "Convolution2DTransposeBias": _transposed_conv,
    "AVERAGE_POOL_2D": _pool,
    "MAX_POOL_2D": _pool,
    "RESIZE_BILINEAR": _resize,
    "RESIZE_NEAREST_NEIGHBOR": _resize,
    "TILE": _tile,
    "ADD": _both,
    "MUL": _both,
    "CONCATENATION": _concatenate,
    "SPLIT": _split,
    "RESHAPE": _reshape,
    "ARG_MAX": _arg_max,
    "RELU": _one("Relu"),
    "HARD_SWISH": _one("HardSwish"),
    "LOGISTIC": _one("Sigmoid"),
    "QUANTIZE": _nothing,
    "DEQUANTIZE": _nothing,
}


def _axis(axis: int, tensor: Tensor) -> int:
    """TensorFlow's axis of a tensor in ONNX's order."""
    axis %= len(tensor.shape)
    return _AXES[axis] if len(tensor.shape) == 4 else axis


def _same_range(one: Tensor, other: Tensor) -> bool:
    """Whether a tensor holds no number that the other cannot hold, so that no clip is needed."""
    return one.quantized and one.data is None and one.range == other.range


def _sizes(tensor: Tensor) -> list[int | str]:
    """Sizes of an answer: batch and what follows the image's size are free."""
    match len(tensor.shape):
        case 4:
            return ["n", tensor.shape[3], f"{tensor.name}_h", f"{tensor.name}_w"]
        case 3 if tensor.dtype.kind == "i" and not tensor.quantized:
            return ["n", f"{tensor.name}_h", f"{tensor.name}_w"]
        case 3:
            return ["n", f"{tensor.name}_rows", tensor.shape[2]]
    return ["n", *(f"{tensor.name}_{axis}" for axis in range(1, len(tensor.shape)))]


def _needed(operators: Sequence[Operator], outputs: Sequence[int]) -> list[Operator]:
    """Those that the outputs depend on, in order."""
    wanted, kept = set(outputs), []
    for operator in reversed(operators):
        if wanted.intersection(operator.outputs):
            wanted.update(operator.inputs)
            kept.append(operator)
    return kept[::-1]
