"""Read images from a column of Parquet files.

The column is binary, or the struct of `bytes` and `path` that Hugging Face datasets writes, or a list of either; the
path is never opened. The other columns of a row travel with each of its images as one sidecar (an Arrow IPC stream of
that row). A unit is a run of rows within one row group; start and stop are row numbers. The member name of a row is its
number, nine digits, and so is its key unless a `key_column` is configured; in a list, `#0`, `#1`, ... follow both.
Reasons of rejected rows:

    null_image         the image is null, or the list is null or empty
    path_only          a path without bytes
    too_many_bytes     larger than source.max_image_bytes
    null_key           the key is null
    unsafe_name        the key is absolute, has `..` or control characters, or is too long to write
    duplicate_member   a key that an earlier row of this file has

Reasons of failed files:

    parquet_unreadable   the footer is missing or broken
    parquet_schema       it lacks a configured column, or no column can hold images
    parquet_corrupt      a page cannot be decoded
    source_changed       the file was replaced or removed after the plan
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Final

import pyarrow as pa
from pydantic import Field

from pipeline.contracts import Listed
from pipeline.errors import ShardError, SourceError
from pipeline.records import EncodedImage, ImageRef, Shard, Sidecar, UnitBatch, image_id
from pipeline.source import names
from pipeline.source.keys import Keys
from pipeline.source.listing import Listing, as_source_error, find, not_found, shards_of
from pipeline.source.rowgroups import ParquetRows, Row
from pipeline.source.unit import ENDED, UnitBuilder, UnitLimits, next_uncommitted
from pipeline.spec import spec

PARQUET_SUFFIXES: Final = (".parquet", ".parq", ".pq")
_AUTO: Final = "auto"
_USUAL_NAMES: Final = ("image", "img", "jpg", "jpeg", "png", "webp", "image_bytes", "bytes", "images")
_WANTED: Final = "binary, a struct of bytes and path, or a list of these"
_HASH_BYTES: Final = 64
"""Binary cells of a fixed size up to this one hold hashes and ids."""
_PROBED_SHARDS: Final = 8


@spec
class Parquet(UnitLimits):
    """Parquet files: `uri` is a folder (every *.parquet, *.parq, *.pq below it), one file, a glob or a brace range."""

    image_column: Annotated[str, Field(min_length=1)] = _AUTO
    """Column of the images: binary, a struct of bytes and path, or a list of these, each an image of its own. `auto`:
    the only one that can hold images (structs before lists of them, before plain binary), or the one with a usual name
    such as `image`."""
    key_column: str = ""
    """Column of text or integers whose values become the keys. Empty: the key is the row number."""

    def listed(self) -> Listed:
        """List the files, sorted by path. Raises SourceError when there is none, or the first readable one lacks the
        columns."""
        return self.of(find(self.uri, PARQUET_SUFFIXES, follow_links=self.follow_links))

    def of(self, listing: Listing) -> Listed:
        """The files of a listing."""
        if not listing.found:
            raise not_found(self.uri, "*.parquet", listing)
        shards = shards_of(listing)
        self.resolve(shards)
        return self._listed(shards, listing)

    def resolve(self, shards: Sequence[Shard]) -> Parquet:
        """Replace `auto` by the column that it chooses in the first readable shard: a later shard in which it would
        choose another one fails instead. Raises SourceError when the first readable shard lacks a column."""
        for shard in shards[:_PROBED_SHARDS]:
            try:
                with as_source_error(self.uri), ParquetRows(shard) as file:
                    return replace(self, image_column=self._image_column(file.schema, shard))
            except ShardError as error:
                if error.reason == "parquet_schema":
                    raise SourceError(error.detail) from error
        return self  # none is readable so far; each of them becomes a failure of its own

    def probe(self, shards: Sequence[Shard]) -> None:
        """Read one row. Raises SourceError when none of the first shards has a readable one."""
        few = replace(self, unit_images=1)
        for shard in shards[:_PROBED_SHARDS]:
            with as_source_error(self.uri):
                first = next(few.units(shard, {}), None)
            if first is not None and first.items and not first.unit.failure:
                return
        probed = min(len(shards), _PROBED_SHARDS)
        raise SourceError(f"source.uri={self.uri}: no row can be read from the first {probed} Parquet files")

    def units(self, shard: Shard, done: Mapping[int, int]) -> Iterator[UnitBatch[EncodedImage]]:
        """As contracts.Source says. Holds one unit, a few rows, and their page (see `rowgroups`)."""
        position = next_uncommitted(0, done)
        if position == ENDED:
            return
        unit, keys = UnitBuilder(shard=shard, start=position, limits=self), Keys(shard)
        keys.skip(0, position)
        try:
            with ParquetRows(shard) as file:
                image = self._image_column(file.schema, shard)
                carried = _carried(file.schema, image)
                if file.count == 0:
                    yield unit.batch(stop=0, last=True)
                while ENDED != position < file.count:
                    for row in file.read(position):
                        self._add(unit, shard, keys, image, row, _packed(row.cells, image, carried))
                        if not unit.full and not row.ends_group:
                            continue
                        stop = row.number + 1
                        yield unit.batch(stop=stop, last=stop == file.count)
                        position = next_uncommitted(stop, done)
                        keys.skip(stop, position)
                        unit = UnitBuilder(shard=shard, start=position, limits=self)
                        if position != stop:
                            break
        except ShardError as error:
            yield unit.failed(error)

    def _add(
        self, unit: UnitBuilder, shard: Shard, keys: Keys, image: str, row: Row, others: tuple[Sidecar, ...]
    ) -> None:
        cell = row.cells.column(image)[0].as_py()
        listed = [(f"#{i}", one) for i, one in enumerate(cell)] if isinstance(cell, list) else [("", cell)]
        for part, one in listed or [("", None)]:
            member = f"{row.number:09d}{part}"
            key, reason, detail = self._key(keys, row, part, member)
            ref = ImageRef(image_id=image_id(shard.path, member), key=key, member=member)
            data, path = (one.get("bytes"), one.get("path")) if isinstance(one, dict) else (one, None)
            if reason:
                unit.reject(ref, reason, detail)
            elif data is None and path is not None:
                unit.reject(ref, "path_only", f"column {image!r} has a path without bytes, and paths are never opened")
            elif data is None:
                unit.reject(ref, "null_image", f"column {image!r} holds no image in row {row.number}")
            elif len(data) > self.max_image_bytes:
                detail = f"{len(data)} bytes; source.max_image_bytes is {self.max_image_bytes}"
                unit.reject(ref, "too_many_bytes", detail)
            else:
                unit.image(ref, data, others)

    def _key(self, keys: Keys, row: Row, part: str, member: str) -> tuple[str, str, str]:
        """The key of an image; reason and detail why it cannot be used, or empty. part: `#0` in a list."""
        if not self.key_column:
            return member, "", ""
        value = row.cells.column(self.key_column)[0].as_py()
        if value is None:
            return member, "null_key", f"column {self.key_column!r} is null in row {row.number}"
        key = names.tidy(str(value)) + part
        if unsafe := names.problem(key):
            return member, "unsafe_name", f"column {self.key_column!r} in row {row.number}: {unsafe}"
        if not keys.add(key):
            return key, "duplicate_member", f"the key {key!r} was in this file before"
        return key, "", ""

    def _image_column(self, schema: pa.Schema, shard: Shard) -> str:
        """Choose the column of the images. Raises ShardError `parquet_schema` that lists the file's columns."""
        known = ", ".join(f"{f.name} ({f.type})" for f in schema)[:600]
        if self.key_column:
            _check(schema, self.key_column, _is_key, f"{shard.uri}: source.key_column", "text or whole numbers", known)
        if self.image_column != _AUTO:
            _check(schema, self.image_column, _is_image, f"{shard.uri}: source.image_column", _WANTED, known)
            return self.image_column
        ranks = {f.name: _rank(f.type) for f in schema if _is_image(f.type)}
        candidates: list[str] = [name for name, rank in ranks.items() if rank == min(ranks.values())]
        usual = [name for name in candidates if name in _USUAL_NAMES]
        if len(candidates) > 1 and usual:
            return min(usual, key=_USUAL_NAMES.index)
        if len(candidates) == 1:
            return candidates[0]
        found = f"several columns may hold images: {', '.join(candidates)}; choose one by source.image_column=NAME"
        if not candidates:
            found = f"no column holds images; expected {_WANTED}: decode base64 text and flatten nested structs first"
        raise ShardError("parquet_schema", f"{shard.uri}: {found}; the columns are: {known}", offset=0)


def _check(
    schema: pa.Schema, name: str, fits: Callable[[pa.DataType], bool], what: str, wanted: str, known: str
) -> None:
    """Raise ShardError `parquet_schema` unless exactly one column has this name, and its type fits."""
    positions = schema.get_all_field_indices(name)
    if len(positions) != 1:
        problem = f"there is no column {name!r}" if not positions else f"{len(positions)} columns are called {name!r}"
    elif not fits(schema.field(positions[0]).type):
        problem = f"column {name!r} is {schema.field(positions[0]).type}, expected {wanted}"
    else:
        return
    raise ShardError("parquet_schema", f"{what}: {problem}; the columns are: {known}", offset=0)


def _is_image(kind: pa.DataType) -> bool:
    """Whether a cell holds an image, or a list of them."""
    one = kind.value_type if _is_list(kind) else kind
    if pa.types.is_struct(one):
        position = one.get_field_index("bytes")
        return position >= 0 and _is_binary(one.field(position).type)
    return _is_binary(one)


def _rank(kind: pa.DataType) -> int:
    """Order the columns that can hold images: structs, lists of structs, binary, lists of binary."""
    listed = _is_list(kind)
    return listed + 2 * (not pa.types.is_struct(kind.value_type if listed else kind))


def _is_list(kind: pa.DataType) -> bool:
    t = pa.types
    lists = (t.is_list, t.is_large_list, t.is_fixed_size_list, t.is_list_view, t.is_large_list_view)
    return any(fits(kind) for fits in lists)


def _is_binary(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        return _is_binary(kind.value_type)
    if pa.types.is_fixed_size_binary(kind):
        return bool(kind.byte_width > _HASH_BYTES)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind))


def _is_key(kind: pa.DataType) -> bool:
    t = pa.types
    if t.is_dictionary(kind):
        return _is_key(kind.value_type)
    return any(fits(kind) for fits in (t.is_string, t.is_large_string, t.is_string_view, t.is_integer))


# --- the other columns -----------------------------------------------------------------------------------------


def _carried(schema: pa.Schema, image: str) -> pa.Schema:
    """The other columns as their sidecars hold them: in types that Hugging Face datasets can read, and of its metadata
    what types do not tell, such as the names of a ClassLabel."""
    kept = [field for field in schema if field.name != image]
    try:
        features = dict(json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"])
    except (KeyError, ValueError, TypeError):  # none, or not of Hugging Face's form
        features = {}
    told = {f.name: features[f.name] for f in kept if f.name in features and not _is_value(features[f.name])}
    metadata = {"huggingface": json.dumps({"info": {"features": told}})} if told else None
    return pa.schema([field.with_type(_held(field.type)) for field in kept], metadata)


def _is_value(feature: object) -> bool:
    return isinstance(feature, dict) and feature.get("_type") == "Value"


def _held(kind: pa.DataType) -> pa.DataType:
    """The type in which datasets can read it: a map is a list of keys and values, a view a list, an extension what it
    is stored as."""
    t = pa.types
    if isinstance(kind, pa.BaseExtensionType):
        return _held(kind.storage_type)
    if t.is_map(kind):
        return pa.list_(pa.struct([("key", _held(kind.key_type)), ("value", _held(kind.item_type))]))
    if t.is_struct(kind):
        return pa.struct([field.with_type(_held(field.type)) for field in kind])
    if t.is_fixed_size_list(kind):
        return pa.list_(_held(kind.value_type), kind.list_size)
    if _is_list(kind):
        large = t.is_large_list(kind) or t.is_large_list_view(kind)
        return (pa.large_list if large else pa.list_)(_held(kind.value_type))
    return kind


def _packed(cells: pa.RecordBatch, image: str, carried: pa.Schema) -> tuple[Sidecar, ...]:
    """Pack the other columns of a row into a sidecar."""
    if not len(carried):
        return ()
    rest = [column for name, column in zip(cells.schema.names, cells.columns, strict=True) if name != image]
    columns = [_column(cell, kind) for cell, kind in zip(rest, carried.types, strict=True)]
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, carried) as writer:
        writer.write_batch(pa.record_batch(columns, schema=carried))
    return (Sidecar(name="columns", data=sink.getvalue().to_pybytes(), kind="columns"),)


def _column(cell: pa.Array, kind: pa.DataType) -> pa.Array:
    if pa.types.is_dictionary(kind):
        own = cell.dictionary_decode().dictionary_encode()  # a slice brings the values of all rows with it
        return pa.DictionaryArray.from_arrays(own.indices.cast(kind.index_type), own.dictionary, ordered=kind.ordered)
    if "list_view" in str(cell.type):
        return pa.array(cell.to_pylist(), kind)  # pyarrow 26 casts views to lists without their last offset
    return cell if cell.type == kind else cell.cast(kind)
