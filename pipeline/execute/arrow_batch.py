"""How a unit's images go from one process to another: a `Batch` of any image record <-> one cell of Arrow IPC bytes.

Every field becomes a typed Arrow column, derived from the record's own annotations, so a new field needs nothing here:

| annotation | column |
| --- | --- |
| bool, int, float | bool, int64, float64 |
| str, Literal of strings | binary: UTF-8 with surrogateescape, because member names of a tar need not be UTF-8 |
| bytes | dictionary of large_binary: an object that several records share is written once |
| NDArray[np.uint8], NDArray[np.bool_] | struct(shape: list<int64>, data: large_binary), one byte a pixel |
| tuple[X, ...] | large_list |
| tuple[X, X, X, X] | fixed_size_list |
| Mapping[str, X] | map |
| another record | struct |
| A or B (an image or its rejection) | dense union |

Arrays come back without a copy, as READ-ONLY views into the cell: who wants to write makes a copy, and one array that
is kept keeps the whole cell in memory. Encoded bytes are copied (they are `bytes`). Cells are read by the processes of
one run and one version of the code: this is no storage format, and no check of untrusted input.
"""

from __future__ import annotations

import dataclasses
import io
import types
from collections.abc import Mapping, Sequence
from functools import cache
from itertools import accumulate, chain, pairwise
from typing import Any, Final, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np
import pyarrow as pa

from pipeline.records import (
    Cropped,
    EncodedImage,
    Filled,
    Rejected,
    Rendered,
    Segmented,
    Selected,
    Unit,
    UnitBatch,
    Viewed,
)

_RECORDS: Final[Mapping[str, type]] = {
    t.__name__: t for t in (EncodedImage, Viewed, Segmented, Selected, Cropped, Filled, Rendered, Rejected)
}
_RECORD: Final = b"record"

T = TypeVar("T")


def pack(batch: UnitBatch[T]) -> bytes:
    """One unit at one stage as an Arrow IPC stream of one row. All items are of one record type, or `Rejected`.

    Raises TypeError for a batch that mixes record types, or holds one that does not travel.
    """
    kinds = {type(item) for item in batch.items} - {Rejected} or {Rejected}
    names = sorted(kind.__name__ for kind in kinds)
    if len(names) > 1 or names[0] not in _RECORDS:
        raise TypeError(f"unit {batch.unit.unit_id}: expected items of one of {', '.join(_RECORDS)}, got {names}")
    hints = _hints_of_batch(names[0])
    columns = [_column(hint, [getattr(batch, name)]) for name, hint in hints.items()]
    schema = pa.schema(
        [pa.field(name, column.type) for name, column in zip(hints, columns, strict=True)],
        metadata={_RECORD: names[0]},
    )
    sink = io.BytesIO()  # hands its bytes over without a copy, unlike Arrow's own buffer
    with pa.ipc.new_stream(sink, schema) as writer:
        writer.write_batch(pa.record_batch(columns, schema=schema))
    return sink.getvalue()


def unpack(data: bytes | pa.Buffer) -> UnitBatch[Any]:
    """The batch that was packed. Arrays are read-only views into `data`; the caller names the type of the items."""
    with pa.ipc.open_stream(pa.py_buffer(data)) as reader:
        row = reader.read_next_batch()
        hints = _hints_of_batch(reader.schema.metadata[_RECORD].decode())
    fields = {name: _values(hint, column)[0] for (name, hint), column in zip(hints.items(), row.columns, strict=True)}
    return UnitBatch(**fields)


def _hints_of_batch(record: str) -> dict[str, Any]:
    kind: Any = _RECORDS[record]
    return {"unit": Unit, "items": tuple[kind | Rejected, ...], "seconds": Mapping[str, float]}


@cache
def _fields(record: type) -> dict[str, Any]:
    """Name -> annotation, in the order of the constructor."""
    hints = get_type_hints(record)
    return {field.name: hints[field.name] for field in dataclasses.fields(record)}


# --- records -> columns ----------------------------------------------------------------------------------------


def _column(hint: Any, values: Sequence[Any]) -> pa.Array:
    """All values of one annotation as one column."""
    origin, args = get_origin(hint), get_args(hint)
    if hint is bool:
        return pa.array(values, pa.bool_())
    if hint is int:
        return pa.array(values, pa.int64())
    if hint is float:
        return pa.array(values, pa.float64())
    if hint is str or origin is Literal:
        return pa.array([value.encode("utf-8", "surrogateescape") for value in values], pa.binary())
    if hint is bytes:
        return _shared_blobs(values)
    if origin is np.ndarray:
        shapes = _column(tuple[int, ...], [value.shape for value in values])
        return pa.StructArray.from_arrays([shapes, _blobs([_flat(value, hint) for value in values])], ["shape", "data"])
    if origin is tuple and args[-1] is Ellipsis:
        offsets = list(accumulate(map(len, values), initial=0))
        inner = _column(args[0], list(chain.from_iterable(values)))
        return pa.LargeListArray.from_arrays(pa.array(offsets, pa.int64()), inner)
    if origin is tuple and len(set(args)) == 1:
        return pa.FixedSizeListArray.from_arrays(_column(args[0], list(chain.from_iterable(values))), len(args))
    if origin is Mapping:
        offsets = list(accumulate(map(len, values), initial=0))
        keys = _column(args[0], [key for value in values for key in value])
        inner = _column(args[1], [item for value in values for item in value.values()])
        return pa.MapArray.from_arrays(pa.array(offsets, pa.int32()), keys, inner)
    if origin in (Union, types.UnionType):
        return _union(args, values)
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        fields = _fields(hint)
        columns = [_column(inner, [getattr(value, name) for value in values]) for name, inner in fields.items()]
        return pa.StructArray.from_arrays(columns, list(fields))
    raise TypeError(f"no column type for {hint}: add it to the table at the top of pipeline/execute/arrow_batch.py")


def _flat(array: np.ndarray[Any, Any], hint: Any) -> memoryview:
    """The bytes of an array, row by row; no copy when it is contiguous."""
    dtype = _dtype(hint)
    if array.dtype != dtype:
        raise TypeError(f"expected an array of {dtype}, got {array.dtype}")
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def _dtype(hint: Any) -> np.dtype[Any]:
    dtype: np.dtype[Any] = np.dtype(get_args(get_args(hint)[1])[0])
    return dtype


def _blobs(values: Sequence[bytes | memoryview]) -> pa.Array:
    """large_binary by one join: Arrow's builder would grow, and copy, several times."""
    offsets = np.fromiter(accumulate((len(v) for v in values), initial=0), np.int64, len(values) + 1)
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(b"".join(values))]
    return pa.LargeBinaryArray.from_buffers(pa.large_binary(), len(values), buffers)


def _shared_blobs(values: Sequence[bytes]) -> pa.Array:
    """A dictionary of large_binary: the frames of a file are one object, which is written once."""
    distinct = {id(value): value for value in values}
    places = {identity: place for place, identity in enumerate(distinct)}
    indices = pa.array([places[id(value)] for value in values], pa.int32())
    return pa.DictionaryArray.from_arrays(indices, _blobs(list(distinct.values())))


def _union(kinds: Sequence[type], values: Sequence[Any]) -> pa.Array:
    codes = [kinds.index(type(value)) for value in values]
    seen = [0] * len(kinds)
    offsets = []
    for code in codes:
        offsets.append(seen[code])
        seen[code] += 1
    children = [_column(kind, [value for value in values if type(value) is kind]) for kind in kinds]
    names = [kind.__name__ for kind in kinds]
    return pa.UnionArray.from_dense(pa.array(codes, pa.int8()), pa.array(offsets, pa.int32()), children, names)


# --- columns -> records ----------------------------------------------------------------------------------------


def _values(hint: Any, column: pa.Array) -> list[Any]:
    """The inverse of `_column`. Columns come whole out of an IPC message, never sliced: offsets start at 0."""
    origin, args = get_origin(hint), get_args(hint)
    if hint in (bool, int, float):
        return list(column.to_pylist())
    if hint is bytes:
        blobs = column.dictionary.to_pylist()
        return [blobs[place] for place in column.indices.to_pylist()]
    if hint is str or origin is Literal:
        return [value.decode("utf-8", "surrogateescape") for value in column.to_pylist()]
    if origin is np.ndarray:
        return _arrays(_dtype(hint), column)
    if origin is tuple and args[-1] is Ellipsis:
        inner = _values(args[0], column.values)
        bounds = column.offsets.to_pylist()
        return [tuple(inner[start:stop]) for start, stop in pairwise(bounds)]
    if origin is tuple:
        inner = _values(args[0], column.values)
        return [tuple(inner[start : start + len(args)]) for start in range(0, len(inner), len(args))]
    if origin is Mapping:
        pairs = list(zip(_values(args[0], column.keys), _values(args[1], column.items), strict=True))
        bounds = column.offsets.to_pylist()
        return [dict(pairs[start:stop]) for start, stop in pairwise(bounds)]
    if origin in (Union, types.UnionType):
        children = [_values(kind, column.field(code)) for code, kind in enumerate(args)]
        places = zip(column.type_codes.to_pylist(), column.offsets.to_pylist(), strict=True)
        return [children[code][offset] for code, offset in places]
    fields = _fields(hint)
    columns = [_values(inner, column.field(name)) for name, inner in fields.items()]
    return [hint(**dict(zip(fields, row, strict=True))) for row in zip(*columns, strict=True)]


def _arrays(dtype: np.dtype[Any], column: pa.Array) -> list[np.ndarray[Any, Any]]:
    """Views into the message; nothing is copied."""
    data = column.field("data")
    _, bounds, blob = data.buffers()
    offsets = np.frombuffer(bounds, np.int64, len(data) + 1) if len(data) else ()
    pixels = np.frombuffer(blob, np.uint8) if blob is not None else np.empty(0, np.uint8)
    shapes = _values(tuple[int, ...], column.field("shape"))
    spans = zip(shapes, offsets[:-1], offsets[1:], strict=True)
    return [pixels[start:stop].view(dtype).reshape(shape) for shape, start, stop in spans]
