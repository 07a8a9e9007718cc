"""Checks that an ONNX file has the inputs and the output that a fill expects, and runs it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto

from pipeline.errors import ConfigError
from pipeline.fill.shared.windows import Windowing
from pipeline.models.onnx_session import session
from pipeline.models.weights import Weights
from pipeline.records import Device

FLOAT: Final = int(TensorProto.FLOAT)
UINT8: Final = int(TensorProto.UINT8)


@dataclass(frozen=True)
class Plane:
    """An input or the output: (n, channels, height, width) of FLOAT or UINT8."""

    channels: int
    kind: int


@dataclass(frozen=True)
class Graph:
    """A file that passed the check. inputs: channels -> name: an image has three, a mask one."""

    file: Path
    inputs: Mapping[int, str]
    output: str

    def load(self, device: Device, threads: int) -> Loaded:
        return Loaded(self, device, threads)


class Loaded:
    """A loaded network."""

    def __init__(self, graph: Graph, device: Device, threads: int) -> None:
        self._session = session(graph.file, device, threads)
        self._inputs, self._output = graph.inputs, graph.output

    def __call__(self, arrays: Sequence[NDArray[np.generic]]) -> NDArray[np.generic]:
        """Run on one (n, channels, h, w) array an input; their channels tell them apart. -> the output."""
        named = {self._inputs[array.shape[1]]: array for array in arrays}
        (answer,) = self._session.run([self._output], named)
        return np.asarray(answer)


def read(model: Weights, windowing: Windowing, inputs: Sequence[Plane], output: Plane) -> Graph:
    """Fetch a file and check it. Raises ConfigError, with what was expected and what came, when the file's inputs or
    output differ, or when it is made for another size or batch than `windowing` says."""
    path = model.fetch()
    graph = onnx.load(path).graph
    weights = {tensor.name for tensor in graph.initializer}
    found = [value for value in graph.input if value.name not in weights]
    file = model.path.name
    if len(found) != len(inputs):
        names = ", ".join(value.name for value in found) or "none"
        raise ConfigError(_expected(file, f"{len(inputs)} input{'s' * (len(inputs) > 1)}", f"{len(found)}: {names}"))
    named: dict[int, str] = {}
    for plane in inputs:
        wanted = _type_text((0, plane.channels, 0, 0), plane.kind)
        match = [value for value in found if _fits(value, plane)]
        if not match:
            raise ConfigError(_expected(file, f"an input of {wanted}", "; ".join(_described(value) for value in found)))
        named[plane.channels] = match[0].name
        _check_size(file, match[0], windowing)
    if len(graph.output) != 1 or not _fits(graph.output[0], output):
        got = "; ".join(_described(value) for value in graph.output)
        raise ConfigError(_expected(file, f"one output of {_type_text((0, output.channels, 0, 0), output.kind)}", got))
    return Graph(file=path, inputs=named, output=graph.output[0].name)


def _fits(value: onnx.ValueInfoProto, plane: Plane) -> bool:
    kind, shape = _type(value)
    known = not shape or (len(shape) == 4 and shape[1] in (0, plane.channels))
    return kind == plane.kind and known


def _check_size(file: str, value: onnx.ValueInfoProto, windowing: Windowing) -> None:
    _, shape = _type(value)
    if not shape:
        return
    if any(shape[2:]) and not (windowing.fixed and all(size in (0, windowing.side) for size in shape[2:])):
        size = f"{windowing.side}x{windowing.side}" if windowing.fixed else "any size"
        fixed = str(windowing.fixed).lower()
        why = f"windows of {size} (fill.windowing.fixed={fixed}, fill.windowing.side={windowing.side})"
        raise ConfigError(_expected(file, why, _described(value)))
    if shape[0] and not shape[0] == windowing.batch == 1:  # the last batch may be smaller
        raise ConfigError(
            _expected(file, f"batches of up to {windowing.batch} (fill.windowing.batch)", f"one made for {shape[0]}")
        )


def _type(value: onnx.ValueInfoProto) -> tuple[int, tuple[int, ...]]:
    """-> the element type, and the sizes, 0 for those that the file leaves open; no sizes when it has none."""
    tensor = value.type.tensor_type
    return tensor.elem_type, tuple(max(0, dim.dim_value) for dim in tensor.shape.dim)


def _described(value: onnx.ValueInfoProto) -> str:
    kind, shape = _type(value)
    return f"{value.name} {_type_text(shape, kind)}"


def _type_text(shape: Sequence[int], kind: int) -> str:
    return f"{'x'.join(str(size or '?') for size in shape)} {TensorProto.DataType.Name(kind).lower()}"


def _expected(file: str, expected: str, got: str) -> str:
    return f"fill.model: {file} does not fit this fill: expected {expected}, got {got}"
