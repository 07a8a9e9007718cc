"""Packs rendered images into objects: one WebDataset tar or Parquet file for each unit and kind, or loose files.

Sidecars are published with the `filled` image only. A rejected image publishes nothing.
"""

from __future__ import annotations

import base64
import datetime
import io
import json
import math
import tarfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from hashlib import sha256
from typing import Any, Final

import pyarrow as pa

from pipeline.records import OutputFile, Rejected, Rendered, RenderedFile, Sidecar, Unit
from pipeline.sink.masks import segments_of
from pipeline.sink.safe_names import Names, addressed, field_of, folder_of
from pipeline.sink.tables import parquet, utf8

FILLED: Final = "filled"

IMAGE: Final = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
"""Image column of Hugging Face datasets, which recognises it by the metadata of `_as_metadata`."""
_OWN: Final = ("key", "image", "image_id", "segments", "sidecars")
# A list of structs, not a map: datasets has no map type (huggingface/datasets issue 5612).
_SIDECARS: Final = pa.list_(pa.struct([("name", pa.string()), ("data", pa.binary())]))

Items = Sequence[Rendered | Rejected]


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where an image was published. path: of the object, relative to the output root. member: name inside it."""

    path: str
    member: str = ""


@dataclass(frozen=True, kw_only=True)
class Published:
    """Objects of a unit. files, loose, staged: as in `UnitFiles`. places: by (position of the image, kind). sidecars:
    names of those of an image, by its position."""

    files: tuple[OutputFile, ...] = ()
    loose: tuple[OutputFile, ...] = ()
    staged: tuple[OutputFile, ...] = ()
    places: Mapping[tuple[int, str], Place] = field(default_factory=dict)
    sidecars: Mapping[int, Sequence[str]] = field(default_factory=dict)


def as_nothing(unit: Unit, items: Items) -> Published:
    """Publish no rendered images."""
    return Published()


def as_tar(unit: Unit, items: Items) -> Published:
    """Publish `rendered/<kind>/<unit>-<hash>.tar`: in source order each image, then its sidecars in the same sample."""
    files, places, sidecars = [], {}, defaultdict[int, list[str]](list)
    for kind in _kinds(items):
        entries = list(_entries(items, kind, Names(unit.shard, into="tar")))
        packed = tar((e.name, e.data) for e in entries if not e.again)
        file = addressed(f"rendered/{kind}", unit.unit_id, ".tar", packed)
        files.append(file)
        places.update({(e.position, kind): Place(path=file.path, member=e.name) for e in entries if not e.sidecar})
        for entry in (e for e in entries if e.sidecar):
            sidecars[entry.position].append(entry.name)
    return Published(files=tuple(files), places=places, sidecars=sidecars)


def as_files(unit: Unit, items: Items) -> Published:
    """Publish `rendered/<kind>/<name in the source>`, sidecars beside their image.

    Such names carry no hash, so the files of a unit are also staged as one tar, whose members are named by their path
    in the output.
    """
    loose, places, folder = [], {}, folder_of(unit.shard)
    sidecars = defaultdict[int, list[str]](list)
    for kind in _kinds(items):
        for entry in _entries(items, kind, Names(unit.shard, into="files", derived=kind != FILLED)):
            path = f"rendered/{kind}/{folder}{entry.name}"
            if not entry.again:
                loose.append(OutputFile(path=path, data=entry.data, sha256=sha256(entry.data).hexdigest()))
            if entry.sidecar:
                sidecars[entry.position].append(path)
            else:
                places[entry.position, kind] = Place(path=path)
    staged = tar((file.path, file.data) for file in loose)
    return Published(
        loose=tuple(loose),
        staged=(addressed("_staged", unit.unit_id, ".tar", staged),) if loose else (),
        places=places,
        sidecars=sidecars,
    )


def as_parquet(unit: Unit, items: Items) -> Published:
    """Publish `rendered/<kind>/<unit>-<hash>.parquet` with the columns key, image (bytes and path), image_id and
    segments (the rows of `masks/`).

    `filled` also gets the other columns of the source with their own types, and `sidecars` with the files of a
    WebDataset sample. A source column with the name of one of these gets the suffix `_source`, and keeps what Hugging
    Face datasets knows of it (the names of a ClassLabel). Shards with different columns give files with different
    columns.
    """
    files, places, sidecars = [], {}, {}
    for kind in _kinds(items):
        names, rows, keys = Names(unit.shard, into="parquet"), [], {}
        for position, item, image in _of_kind(items, kind):
            name = names.image(item.ref, image.suffix)
            rows.append(_row(item, image, name, with_sidecars=kind == FILLED))
            keys[position, kind] = utf8(item.ref.key)
            if kind == FILLED:
                named = rows[-1]["sidecars"].combine_chunks().flatten().field("name").to_pylist()
                sidecars[position] = [*named, *(column for column in rows[-1].column_names if column not in _OWN)]
        features = {name: feature for row in rows for name, feature in _features(row).items()}
        content = pa.concat_tables(rows, promote_options="default").replace_schema_metadata(_as_metadata(features))
        file = addressed(f"rendered/{kind}", unit.unit_id, ".parquet", parquet(content, compressed=False))
        files.append(file)
        places.update({at: Place(path=file.path, member=key) for at, key in keys.items()})
    return Published(files=tuple(files), places=places, sidecars=sidecars)


PUBLISH: Final[Mapping[str, Callable[[Unit, Items], Published]]] = {
    "tar": as_tar,
    "files": as_files,
    "parquet": as_parquet,
    "none": as_nothing,
}


# --- tar -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class _Entry:
    """One file to publish. position: index in the unit of its image, or of the image that it is a sidecar of.
    again: an image before it has the same sidecar."""

    position: int
    name: str
    data: bytes
    sidecar: bool = False
    again: bool = False


def _entries(items: Items, kind: str, names: Names) -> Iterator[_Entry]:
    written = set[str]()
    for position, item, image in _of_kind(items, kind):
        yield _Entry(position=position, name=names.image(item.ref, image.suffix), data=image.data)
        for extension, data in map(_as_file, item.sidecars if kind == FILLED else ()):
            if name := names.sidecar(item.ref, extension, data):
                yield _Entry(position=position, name=name, data=data, sidecar=True, again=name in written)
                written.add(name)


def tar(entries: Iterable[tuple[str, bytes]]) -> bytes:
    """Return a tar of (name, data) entries, the same bytes on every run.

    No times, no owners; ustar headers, with pax headers only for names that are long or not ASCII; two zero blocks at
    the end, padded to 10,240 bytes.
    """
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, data in entries:
            info = tarfile.TarInfo(name)  # mtime 0, uid and gid 0, mode 0644, no names of owners
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return sink.getvalue()


def _as_file(sidecar: Sidecar) -> tuple[str, bytes]:
    """Return extension and bytes of a sidecar; columns of a Parquet row become `columns.json`, in which `label_name` is
    the name of the ClassLabel `label`."""
    if sidecar.kind == "file":
        return sidecar.name, sidecar.data
    row = _columns(sidecar)
    columns = {name: _json_value(value) for name, value in _readable(row).to_pylist()[0].items()}
    for name, feature in _features(row).items():
        names, at = feature.get("names") if isinstance(feature, dict) else None, columns.get(name)
        if isinstance(names, list) and isinstance(at, int) and 0 <= at < len(names):
            columns.setdefault(f"{name}_name", names[at])
    return "columns.json", json.dumps(columns, ensure_ascii=False, allow_nan=False).encode("utf-8", "backslashreplace")


def _readable(row: pa.Table) -> pa.Table:
    """Cast times in nanoseconds to text: Python's own types hold microseconds."""
    for index, column in enumerate(row.schema):
        if pa.types.is_temporal(column.type) and getattr(column.type, "unit", "") == "ns":
            row = row.set_column(index, column.name, row.column(index).cast(pa.string()))
    return row


def _json_value(value: Any) -> Any:
    """Convert a value to JSON's types: bytes to base64, dates and times to ISO 8601, durations to seconds, decimals to
    text, NaN and infinities to null.
    """
    if isinstance(value, dict):
        return {str(key): _json_value(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_json_value(inner) for inner in value]
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, datetime.timedelta):
        return value.total_seconds()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return str(value) if isinstance(value, Decimal) else value


# --- Parquet ---------------------------------------------------------------------------------------------------


def _row(item: Rendered, image: RenderedFile, name: str, *, with_sidecars: bool) -> pa.Table:
    row = {
        "key": pa.array([utf8(item.ref.key)]),
        "image": pa.array([{"bytes": image.data, "path": utf8(name)}], IMAGE),
        "image_id": pa.array([item.ref.image_id]),
        "segments": segments_of(item),
    }
    features: dict[str, Any] = {"image": {"_type": "Image"}}
    if with_sidecars:
        files = [{"name": utf8(field_of(item.ref, s.name)), "data": s.data} for s in item.sidecars if s.kind == "file"]
        row["sidecars"] = pa.array([files], _SIDECARS)
        for table in (_columns(s) for s in item.sidecars if s.kind == "columns"):
            told = _features(table)
            for column, values in zip(table.column_names, table.columns, strict=True):
                name = column
                while name in row:
                    name += "_source"
                row[name] = values
                features |= {name: told[column]} if column in told else {}
    return pa.table(row, metadata=_as_metadata(features))


def _as_metadata(features: Mapping[str, Any]) -> dict[str, str]:
    """Return metadata by which Hugging Face datasets recognises these columns."""
    return {"huggingface": json.dumps({"info": {"features": features}})}


def _features(table: pa.Table) -> dict[str, Any]:
    """Return what `_as_metadata` made of a table's columns."""
    metadata = (table.schema.metadata or {}).get(b"huggingface")
    return dict(json.loads(metadata)["info"]["features"]) if metadata else {}


def _columns(sidecar: Sidecar) -> pa.Table:
    with pa.ipc.open_stream(sidecar.data) as reader:
        return reader.read_all()


# --- both ------------------------------------------------------------------------------------------------------


def _kinds(items: Items) -> list[str]:
    return sorted({file.kind for item in items if isinstance(item, Rendered) for file in item.files})


def _of_kind(items: Items, kind: str) -> Iterator[tuple[int, Rendered, RenderedFile]]:
    for position, item in enumerate(items):
        if isinstance(item, Rendered):
            yield from ((position, item, file) for file in item.files if file.kind == kind)
