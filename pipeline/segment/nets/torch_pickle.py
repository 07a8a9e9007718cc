"""How the weights that torch saved are read without torch, and without running what a pickle may hold.

The layout before torch 1.6 (`_legacy_save` in torch/serialization.py): five pickles one after the other (a magic
number, the version, facts of the machine, the tensors, the keys of their storages), then each storage as its count of
elements (int64) and its float32 values, all little-endian. A pickle is a program: this reader lets it name three
things, each replaced by a constructor of plain data, and refuses every other name before it is looked up.
"""

from __future__ import annotations

import io
import math
import pickle
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import WeightsError

StateDict: TypeAlias = Mapping[str, NDArray[np.float32]]

MAX_BYTES: Final = 64 << 20
"""Of a file: this reader is for small networks; larger ones belong into .onnx or .safetensors."""

_MAGIC: Final = 0x1950A86A20F9469CFC6C
_VERSION: Final = 1001
_FLOAT: Final = "torch.FloatStorage"


@dataclass(frozen=True)
class _Storage:
    key: str
    count: int


@dataclass(frozen=True)
class _Tensor:
    """A part of a storage. offset, strides: in elements."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def read_state_dict(file: Path) -> StateDict:
    """Name -> float32 array, of a state dict of dense float32 tensors. Raises WeightsError for everything else."""
    data = file.read_bytes()
    if len(data) > MAX_BYTES:
        raise WeightsError(f"{file.name}: {len(data)} bytes, more than {MAX_BYTES}; save the model as .onnx")
    try:
        return _read(io.BytesIO(data), len(data))
    except WeightsError as error:
        raise WeightsError(f"{file.name}: {error}; only a state dict of float32 tensors is read") from None
    except Exception as error:  # bytes that are no pickle make its machine raise nearly anything
        raise WeightsError(f"{file.name}: not a readable state dict ({type(error).__name__}: {error})") from None


def _read(stream: io.BytesIO, size: int) -> StateDict:
    if _load(stream) != _MAGIC or _load(stream) != _VERSION:
        raise WeightsError("not the layout of torch before 1.6")
    facts = _load(stream)
    if not isinstance(facts, dict) or facts.get("little_endian") is not True:
        raise WeightsError("not little-endian")
    tensors, keys = _load(stream), _load(stream)
    if not isinstance(tensors, OrderedDict) or not isinstance(keys, list):
        raise WeightsError(f"expected named tensors and keys, got {type(tensors).__name__} and {type(keys).__name__}")
    storages: dict[object, NDArray[np.float32]] = {}
    for key in keys:
        count = int.from_bytes(stream.read(8), "little")
        if 4 * count > size - stream.tell():
            raise WeightsError(f"storage {key!r} is cut short")
        storages[key] = np.frombuffer(stream.read(4 * count), "<f4").astype(np.float32)
    if stream.tell() != size:
        raise WeightsError(f"{size - stream.tell()} bytes behind the last tensor")
    return {_name(name): _array(tensor, storages) for name, tensor in tensors.items()}


def _name(name: object) -> str:
    if not isinstance(name, str):
        raise WeightsError(f"expected a tensor's name, got {type(name).__name__}")
    return name


def _array(tensor: object, storages: Mapping[object, NDArray[np.float32]]) -> NDArray[np.float32]:
    if not isinstance(tensor, _Tensor):
        raise WeightsError(f"expected a tensor, got {type(tensor).__name__}")
    values = storages[tensor.storage.key]
    last = tensor.offset + sum((n - 1) * step for n, step in zip(tensor.shape, tensor.strides, strict=True))
    if len(values) != tensor.storage.count or last >= len(values) or math.prod(tensor.shape) > len(values):
        raise WeightsError(f"a tensor of {tensor.shape} at {tensor.offset} does not fit {len(values)} values")
    steps = [step * values.itemsize for step in tensor.strides]
    array = np.lib.stride_tricks.as_strided(values[tensor.offset :], tensor.shape, steps).copy()
    if not np.isfinite(array).all():
        raise WeightsError("a weight is not finite")
    return array


def _load(stream: io.BytesIO) -> object:
    return _Unpickler(stream).load()


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> object:
        allowed = {
            "collections.OrderedDict": OrderedDict,
            "torch._utils._rebuild_tensor_v2": _rebuild_tensor,
            _FLOAT: _FLOAT,
        }
        found = allowed.get(f"{module}.{name}")
        return found if found is not None else _refuse(f"it names {module}.{name}")

    def persistent_load(self, pid: object) -> _Storage:
        match pid:
            case ("storage", kind, str(key), str(), int(count), None) if kind == _FLOAT and count >= 0:
                return _Storage(key, count)
        return _refuse(f"expected a float32 storage, got {str(pid)[:100]}")


def _rebuild_tensor(*arguments: object) -> _Tensor:
    match arguments:
        case (_Storage() as storage, int(offset), tuple(shape), tuple(strides), bool(), OrderedDict()):
            whole = all(type(n) is int and n > 0 for n in (*shape, *strides))
            if whole and offset >= 0 and len(shape) == len(strides):
                return _Tensor(storage, offset, shape, strides)
    return _refuse(f"expected a tensor, got {str(arguments)[:100]}")


def _refuse(why: str) -> NoReturn:
    raise WeightsError(why)
