"""Reads .tflite files: the network of a TensorFlow Lite flatbuffer as plain records. Runs nothing of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import tflite
from numpy.typing import NDArray

from pipeline.errors import WeightsError, one_line

_DTYPES: Final[Mapping[int, Any]] = {
    tflite.TensorType.FLOAT32: np.float32,
    tflite.TensorType.FLOAT16: np.float16,
    tflite.TensorType.INT32: np.int32,
    tflite.TensorType.INT64: np.int64,
    tflite.TensorType.UINT8: np.uint8,
    tflite.TensorType.INT8: np.int8,
}


@dataclass(frozen=True, kw_only=True)
class Tensor:
    """shape: in TensorFlow's order, batch, height, width, channels. data: of a constant, as it is stored, else None.

    scale, zero_point: of a quantized tensor, whose numbers mean (stored - zero_point) * scale: one, or one for each
    position along `axis`; empty for others.
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    data: NDArray[Any] | None
    scale: NDArray[np.float32]
    zero_point: NDArray[np.int64]
    axis: int

    @property
    def quantized(self) -> bool:
        return self.scale.size > 0 and self.dtype.kind in "ui" and self.dtype.itemsize == 1

    @property
    def range(self) -> tuple[float, float]:
        """The least and the greatest number that a quantized tensor with one scale can hold."""
        ends = np.iinfo(self.dtype)
        low, high = ((end - int(self.zero_point[0])) * float(self.scale[0]) for end in (ends.min, ends.max))
        return low, high

    def values(self) -> NDArray[Any]:
        """A constant's numbers: float32, or the whole numbers of one that is not quantized."""
        if self.data is None:
            raise WeightsError(f"{self.name}: expected a constant")
        if not self.scale.size:
            return self.data.astype(np.float32) if self.data.dtype == np.float16 else self.data
        along = [1] * self.data.ndim
        if self.scale.size > 1:
            along[self.axis] = -1
        stored = self.data.astype(np.int64) - self.zero_point.reshape(along)
        return (stored * self.scale.reshape(along).astype(np.float64)).astype(np.float32)


@dataclass(frozen=True, kw_only=True)
class Operator:
    """kind: TensorFlow Lite's name of it, or that of a custom operator. inputs: positions of tensors, -1 for one that
    is left out. options: the flatbuffer table of the kind's options. custom: bytes of a custom operator's options."""

    kind: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Any
    custom: bytes


@dataclass(frozen=True, kw_only=True)
class Network:
    """operators: in the order in which they run. inputs, outputs: positions of tensors."""

    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


def read(file: Path) -> Network:
    """Raises WeightsError for a file that is no such network, or has numbers of a kind that is not supported."""
    data = file.read_bytes()
    try:
        model = tflite.Model.GetRootAsModel(data, 0)
        if model.SubgraphsLength() != 1:
            raise WeightsError(f"{file.name}: expected one network, got {model.SubgraphsLength()}")
        graph = model.Subgraphs(0)
        return Network(
            tensors=tuple(_tensor(model, graph.Tensors(i)) for i in range(graph.TensorsLength())),
            operators=tuple(_operator(model, graph.Operators(i)) for i in range(graph.OperatorsLength())),
            inputs=_positions(graph.InputsAsNumpy()),
            outputs=_positions(graph.OutputsAsNumpy()),
        )
    except WeightsError:
        raise
    except Exception as error:  # a damaged flatbuffer ends in whatever its numbers lead to
        raise WeightsError(f"{file.name}: not a readable .tflite file: {one_line(error)}") from error


def _tensor(model: Any, found: Any) -> Tensor:
    name, kind = (found.Name() or b"").decode(), found.Type()
    if kind not in _DTYPES:
        raise WeightsError(f"{name}: expected float32, float16, int32, int64, uint8 or int8, got type {kind} of TFLite")
    dtype = np.dtype(_DTYPES[kind])
    shape = _positions(found.ShapeAsNumpy())
    stored = model.Buffers(found.Buffer())
    raw = stored.DataAsNumpy() if stored.DataLength() else None
    quantization = found.Quantization()
    scaled = quantization is not None and quantization.ScaleLength() > 0
    return Tensor(
        name=name,
        shape=shape,
        dtype=dtype,
        data=None if raw is None else raw.view(dtype).reshape(shape),
        scale=quantization.ScaleAsNumpy() if scaled else np.empty(0, np.float32),
        zero_point=quantization.ZeroPointAsNumpy() if scaled else np.empty(0, np.int64),
        axis=quantization.QuantizedDimension() if scaled else 0,
    )


def _operator(model: Any, found: Any) -> Operator:
    code = model.OperatorCodes(found.OpcodeIndex())
    number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
    kind = tflite.opcode2name(number)
    if kind == "CUSTOM":
        kind = code.CustomCode().decode()
    custom = found.CustomOptionsAsNumpy().tobytes() if found.CustomOptionsLength() else b""
    return Operator(
        kind=kind,
        inputs=_positions(found.InputsAsNumpy()),
        outputs=_positions(found.OutputsAsNumpy()),
        options=_options(found),
        custom=custom,
    )


def _options(found: Any) -> Any:
    """The table of an operator's options, as the class of its type; None for an operator that has none."""
    names = {number: name for name, number in vars(tflite.BuiltinOptions).items() if isinstance(number, int)}
    name, table = names.get(found.BuiltinOptionsType(), "NONE"), found.BuiltinOptions()
    if table is None or name == "NONE":
        return None
    made = getattr(tflite, name)()
    made.Init(table.Bytes, table.Pos)
    return made


def _positions(found: Any) -> tuple[int, ...]:
    """flatbuffers gives the number 0 for an empty list."""
    return tuple(int(one) for one in found) if isinstance(found, np.ndarray) else ()
