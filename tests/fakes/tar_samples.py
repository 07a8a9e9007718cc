"""Tars with known contents, and a stream over bytes in memory."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa

from pipeline.records import EncodedImage, Rejected, Shard, UnitBatch
from pipeline.source.webdataset import WebDataset


class BytesStream:
    """A pipeline.source.stream.Stream over bytes in memory."""

    def __init__(self, data: bytes) -> None:
        self._file = io.BytesIO(data)

    def read(self, count: int) -> bytes:
        return self._file.read(count)

    def skip_to(self, offset: int) -> None:
        self._file.seek(offset)

    def tell(self) -> int:
        return self._file.tell()

    def close(self) -> None:
        self._file.close()


def tar_of(members: Sequence[tuple[str, bytes] | tarfile.TarInfo], format: int = tarfile.USTAR_FORMAT) -> bytes:
    """Pack members into a tar. A TarInfo is added unchanged, without data."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=format) as tar:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                tar.addfile(member)
                continue
            info = tarfile.TarInfo(member[0])
            info.size = len(member[1])
            tar.addfile(info, io.BytesIO(member[1]))
    return buffer.getvalue()


def of_type(name: str, flag: bytes, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = flag, link
    return info


def image_bytes(index: int, size: int = 700) -> bytes:
    """Bytes without zeros that differ for every index."""
    return (f"image {index} ".encode() * (size // 8 + 2))[: size + 37 * (index % 5)]


def packed(data: bytes) -> bytes:
    return gzip.compress(data, mtime=0)


def zstd(data: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(data)
    return bytes(sink.getvalue().to_pybytes())


def write(folder: Path, data: bytes, name: str = "a.tar") -> tuple[WebDataset, Shard]:
    """Write a shard. Returns a source with units of four images, and the shard."""
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(data)
    source = WebDataset(uri=str(folder), unit_images=4)
    (shard,) = source.shards()
    return source, shard


def read(
    folder: Path, data: bytes, name: str = "a.tar", done: Mapping[int, int] | None = None
) -> list[UnitBatch[EncodedImage]]:
    source, shard = write(folder, data, name)
    return list(source.units(shard, done or {}))


def images(batches: Sequence[UnitBatch[EncodedImage]]) -> list[tuple[str, bytes]]:
    return [(i.ref.member, i.data) for b in batches for i in b.items if isinstance(i, EncodedImage)]


def rejects(batches: Sequence[UnitBatch[EncodedImage]]) -> list[tuple[str, str]]:
    return [(i.ref.member, i.reason) for b in batches for i in b.items if isinstance(i, Rejected)]


def encoded_size(items: Sequence[EncodedImage | Rejected]) -> int:
    """Total bytes of the images; rejects have none."""
    return sum(len(item.data) for item in items if isinstance(item, EncodedImage))


def bare(batches: Sequence[UnitBatch[EncodedImage]]) -> list[tuple[object, object]]:
    """Units and items of batches, without times."""
    return [(b.unit, b.items) for b in batches]
