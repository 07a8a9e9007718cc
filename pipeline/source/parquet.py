"""Read images from a column of Parquet files.

The column is binary, or the struct of `bytes` and `path` that Hugging Face datasets writes; the path is never opened.
The other columns of a row travel as one sidecar (an Arrow IPC stream of that row). A unit is a run of rows within one
row group; start and stop are row numbers. The member name of a row is its number, nine digits, and so is its key unless
a `key_column` is configured. Reasons of rejected rows:

    null_image         the image is null
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

PARQUET_SUFFIXES: Final = (".parquet",)
_AUTO: Final = "auto"
_USUAL_NAMES: Final = ("image", "img", "jpg", "jpeg", "png", "webp", "image_bytes", "bytes")
_PROBED_SHARDS: Final = 8


@spec
class Parquet(UnitLimits):
    """Parquet files: `uri` is a folder (every *.parquet below it), one file, a glob or a brace range."""

    image_column: Annotated[str, Field(min_length=1)] = _AUTO
    """Column of the images: binary, or a struct of bytes and path. `auto`: the only one that can hold images (structs
    before plain binary), or the one with a usual name such as `image`."""
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
                if file.count == 0:
                    yield unit.batch(stop=0, last=True)
                while ENDED != position < file.count:
                    for row in file.read(position):
                        self._add(unit, shard, keys, image, row)
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

    def _add(self, unit: UnitBuilder, shard: Shard, keys: Keys, image: str, row: Row) -> None:
        member = f"{row.number:09d}"
        key, reason, detail = self._key(keys, row, member)
        ref = ImageRef(image_id=image_id(shard.path, member), key=key, member=member)
        cell = row.cells.column(image)[0].as_py()
        data, path = (cell.get("bytes"), cell.get("path")) if isinstance(cell, dict) else (cell, None)
        if reason:
            unit.reject(ref, reason, detail)
        elif data is None and path is not None:
            unit.reject(ref, "path_only", f"column {image!r} has a path without bytes, and paths are never opened")
        elif data is None:
            unit.reject(ref, "null_image", f"column {image!r} is null in row {row.number}")
        elif len(data) > self.max_image_bytes:
            detail = f"{len(data)} bytes; source.max_image_bytes is {self.max_image_bytes}"
            unit.reject(ref, "too_many_bytes", detail)
        else:
            unit.image(ref, data, _others(row.cells, image))

    def _key(self, keys: Keys, row: Row, member: str) -> tuple[str, str, str]:
        """The key of a row; reason and detail why it cannot be used, or empty."""
        if not self.key_column:
            return member, "", ""
        value = row.cells.column(self.key_column)[0].as_py()
        if value is None:
            return member, "null_key", f"column {self.key_column!r} is null in row {row.number}"
        key = names.tidy(str(value))
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
            wanted = "binary, or a struct of bytes and path"
            _check(schema, self.image_column, _is_image, f"{shard.uri}: source.image_column", wanted, known)
            return self.image_column
        structs = [f.name for f in schema if pa.types.is_struct(f.type) and _is_image(f.type)]
        candidates: list[str] = structs or [f.name for f in schema if _is_image(f.type)]
        usual = [name for name in candidates if name in _USUAL_NAMES]
        if len(candidates) > 1 and usual:
            return min(usual, key=_USUAL_NAMES.index)
        if len(candidates) == 1:
            return candidates[0]
        found = f"several columns may hold images: {', '.join(candidates)}" if candidates else "no column holds images"
        raise ShardError(
            "parquet_schema",
            f"{shard.uri}: {found}; choose one by source.image_column=NAME out of: {known}",
            offset=0,
        )


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
    if pa.types.is_struct(kind):
        position = kind.get_field_index("bytes")
        return position >= 0 and _is_binary(kind.field(position).type)
    return _is_binary(kind)


def _is_binary(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind))


def _is_key(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_integer(kind))


def _others(cells: pa.RecordBatch, image: str) -> tuple[Sidecar, ...]:
    """Pack the other columns into a sidecar, without the schema's metadata: it would be repeated in every row."""
    positions = [i for i, name in enumerate(cells.schema.names) if name != image]
    rest = cells.select(positions).replace_schema_metadata(None)
    if not rest.num_columns:
        return ()
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rest.schema) as writer:
        writer.write_batch(rest)
    return (Sidecar(name="columns", data=sink.getvalue().to_pybytes(), kind="columns"),)
