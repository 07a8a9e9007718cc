"""Brings the pictures that masks belong to: those that the run published, or those of its source.

Masks are of the upright full-size image. A picture keeps its bytes where every reader shows just that; one that a
reader may turn, or may not know, is decoded and written anew.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final, Protocol

import pyarrow.parquet as pq
from PIL import Image

from pipeline.contracts import Source
from pipeline.errors import ImageError, RunError
from pipeline.export.tables import Place, Row, Tables
from pipeline.image.decode import Decode, Decoder
from pipeline.image.frames import expanded
from pipeline.image.header import SUFFIX, read_header
from pipeline.image.kinds import IMAGE_SUFFIXES
from pipeline.records import EncodedImage, ImageRef
from pipeline.sink.safe_names import folder_of, safe
from pipeline.storage.store import Store

_READ_BY_ALL: Final = ("JPEG", "PNG", "WEBP", "BMP")
_QUALITY: Final = 95
"""Of a JPEG that is written anew, turned."""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """suffix: with the dot. same: the bytes are those that were read."""

    data: bytes
    suffix: str
    same: bool = True


class Pictures(Protocol):
    def units(self, tables: Tables, wanted: Collection[Place]) -> Iterator[tuple[Place, Mapping[str, EncodedImage]]]:
        """Yield each wanted unit with the encoded images that it has, by image id. Raises RunError where it cannot."""


class NoPictures:
    """Pictures that are only named."""

    def units(self, tables: Tables, wanted: Collection[Place]) -> Iterator[tuple[Place, Mapping[str, EncodedImage]]]:
        for place in wanted:
            yield place, {}


@dataclass(frozen=True)
class SourcePictures:
    """The images of the run's source, read as the run read them."""

    source: Source
    decode: Decode

    def units(self, tables: Tables, wanted: Collection[Place]) -> Iterator[tuple[Place, Mapping[str, EncodedImage]]]:
        waiting = {place.unit_id: place for place in wanted}
        shards = self.source.shards()
        source = self.source.resolve(shards)
        done: dict[str, dict[int, int]] = {}
        for unit in (place.record.unit for place in tables.places if place.unit_id not in waiting):
            done.setdefault(unit.shard, {})[unit.start] = unit.stop
        open_shards = {place.record.unit.shard for place in wanted}
        for shard in shards:
            if shard.path not in open_shards:
                continue
            for read in source.units(shard, done.get(shard.path, {})):
                if place := waiting.pop(read.unit.unit_id, None):
                    items = expanded(read, self.decode).items
                    yield place, {item.ref.image_id: item for item in items if isinstance(item, EncodedImage)}
        if waiting:
            unit = next(iter(waiting.values())).record.unit
            raise RunError(
                f"the source {source.uri} no longer has unit {unit.unit_id} of {unit.shard}; choose images=name, or "
                "put the shard back as it was"
            )


@dataclass(frozen=True)
class PublishedPictures:
    """The filled images of the run: none of the pixels that were filled leave with them."""

    kind: str = "filled"

    def units(self, tables: Tables, wanted: Collection[Place]) -> Iterator[tuple[Place, Mapping[str, EncodedImage]]]:
        for place in wanted:
            yield place, dict(self._of(tables.store, tables.rows(place, segments=False)))

    def _of(self, store: Store, rows: Sequence[Row]) -> Iterator[tuple[str, EncodedImage]]:
        packed: dict[str, dict[str, Row]] = {}
        for row in rows:
            if self.kind in row.outputs:
                path, member = row.outputs[self.kind]
                if member:
                    packed.setdefault(path, {})[member] = row
                else:
                    yield row.image_id, _encoded(row, store.read(path))
        for path, members in packed.items():
            for member, data in _members(store, path):
                if member in members:
                    yield members[member].image_id, _encoded(members[member], data)


def _members(store: Store, path: str) -> Iterator[tuple[str, bytes]]:
    """Name and bytes of each image of a published tar or Parquet file."""
    with store.open(path) as stream:
        if path.endswith(".tar"):
            with tarfile.open(fileobj=stream, mode="r:") as tar:
                for member in tar:
                    file = tar.extractfile(member)
                    yield member.name, file.read() if file else b""
        else:
            with pq.ParquetFile(stream, pre_buffer=False) as table:
                for batch in table.iter_batches(batch_size=1, columns=["key", "image"]):
                    for each in batch.to_pylist():
                        yield each["key"], each["image"]["bytes"]


def _encoded(row: Row, data: bytes) -> EncodedImage:
    return EncodedImage(ref=ImageRef(image_id=row.image_id, key=row.key, member=row.member), data=data)


def prepared(row: Row, image: EncodedImage, decoder: Decoder) -> Picture:
    """The picture as it is exported: of the size of the masks, upright. Raises RunError for another image than the run
    had."""
    if image.ref.sha256 and image.ref.sha256 != row.input_sha256:
        raise RunError(f"{row.image_uri}: the image has changed since the run; run it again, or choose images=name")
    try:
        header = read_header(image.data, image.frame)
        if not image.frame and header.orientation == 1 and header.format in _READ_BY_ALL and header.frames == 1:
            size = (header.width, header.height)
            picture = Picture(data=image.data, suffix=SUFFIX[header.format])
        else:
            rgb = decoder.full(image).rgb
            size = (rgb.shape[1], rgb.shape[0])
            jpeg = header.format == "JPEG"
            out = io.BytesIO()
            if jpeg:
                Image.fromarray(rgb).save(out, "JPEG", quality=_QUALITY, subsampling=0)
            else:
                Image.fromarray(rgb).save(out, "PNG")
            picture = Picture(data=out.getvalue(), suffix=".jpg" if jpeg else ".png", same=False)
    except ImageError as error:
        raise RunError(f"{row.image_uri}: cannot be copied: {error}; choose images=name") from error
    if size != (row.width, row.height):
        raise RunError(
            f"{row.image_uri}: expected {row.width}x{row.height} pixels as in the tables, got {size[0]}x{size[1]}"
        )
    return picture


def stem_of(row: Row) -> str:
    """The name of an image in an export, without a suffix: its key, in a folder of the name of its tar or Parquet
    file. Unique in the output, and safe as a path."""
    return folder_of(row.shard) + safe(row.key)


def own_suffix(row: Row) -> str:
    """The suffix that the image has in its source; empty where it has none."""
    suffix = PurePosixPath(row.member.partition("#")[0]).suffix
    return suffix if suffix.lower() in IMAGE_SUFFIXES else ""
