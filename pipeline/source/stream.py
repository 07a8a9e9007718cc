"""Read the bytes of a shard in order, plain or packed, a bounded part at a time, and skip over others.

A tar may be packed by gzip, bzip2, xz or Zstandard. Its first bytes say by which, whatever its name is (`unpacked`).
Reasons for which the rest of a packed shard cannot be read, each beginning with the name of the packing:

    gzip_truncated       the stream stops before its end
    gzip_corrupt         bytes that cannot be unpacked, or a wrong checksum
    gzip_trailing_data   anything but zeros after the last packed stream
"""

from __future__ import annotations

import bz2
import errno
import lzma
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Protocol

import pyarrow as pa

from pipeline.errors import ShardError, one_line
from pipeline.records import Shard
from pipeline.source.listing import DETAILS, parent
from pipeline.source.object_errors import of_one_object
from pipeline.storage.store import Reader, open_store

_PIECE: Final = 4 << 20  # bytes of one read; a reader keeps as much again
_PACKED: Final = 1 << 16  # compressed bytes at a time; constant, so that every pass meets a corrupt byte at one offset
_UNPACKED: Final = 1 << 20  # maximum of bytes that zlib unpacks such a piece to at one time, and a skip reads
_UNPACKED_SMALL: Final = 1 << 12  # of the other packings, which lose what one call unpacks before it fails
_MEMORY: Final = 512 << 20  # maximum that a stream may make xz take; a shard that asks for more fails


class Stream(Protocol):
    def read(self, count: int) -> bytes:
        """Read exactly `count` bytes; fewer only at the end."""

    def skip_to(self, offset: int) -> None:
        """Move forward to `offset`. It may lie past the end: reading there gives no bytes."""

    def tell(self) -> int: ...
    def close(self) -> None: ...


class ObjectStream:
    """One object of the source, as it was planned. The first read opens it; a skip costs nothing until the next read.

    Raises ShardError `source_changed` when the object was replaced or removed after the plan, and OSError for an error
    that a retry may mend.
    """

    def __init__(self, shard: Shard) -> None:
        self._shard = shard
        self._at = 0
        self._reader: Reader | None = None

    def read(self, count: int) -> bytes:
        try:
            self._reader = reader = self._reader or open_planned(self._shard, self._at)
            parts: list[bytes] = []
            while count > 0 and (part := reader.read(min(count, _PIECE))):
                parts.append(part)
                self._at += len(part)
                count -= len(part)
        except OSError as error:
            raise changed(self._shard, error) or error from error
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def skip_to(self, offset: int) -> None:
        self._at = offset
        if self._reader is not None:
            self._reader.seek(offset)

    def tell(self) -> int:
        return self._at

    def close(self) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = None


def open_planned(shard: Shard, start: int = 0) -> Reader:
    """Open the object of a shard, guarded by its etag. Raises as `ObjectStream`, and ShardError for a `problem`."""
    if shard.problem:
        raise ShardError(shard.problem, DETAILS[shard.problem], offset=0)
    folder, name = parent(shard.uri)
    try:
        reader = open_store(folder).open(name, start, etag=shard.etag)
        if reader.size != shard.size:
            raise OSError(errno.ESTALE, f"{shard.uri}: now {reader.size} bytes")
    except OSError as error:
        raise changed(shard, error) or error from error
    return reader


def changed(shard: Shard, error: OSError) -> ShardError | None:
    """Turn the store's error for this one object (replaced, removed, no right, archived) into a failure of its shard;
    None when the store may be lost."""
    root = shard.uri.removesuffix(f"/{shard.path}")
    folder, name = (root, shard.path) if root != shard.uri else parent(shard.uri)
    found = of_one_object(open_store(folder), name, error)
    return ShardError(found[0], f"{shard.uri}: {found[1]}", offset=0) if found else None


class UnpackedStream:
    """The bytes that one or more packed streams in a row unpack to.

    Raises ShardError with the reasons at the top, after all bytes that unpack before the fault (bzip2, xz and
    Zstandard: all but the last 4 KiB of them). Offsets are of the unpacked stream.
    """

    def __init__(self, packed: Stream, packing: Packing) -> None:
        self._packed = packed
        self._pieces = packing.pieces(packed, packing)
        self._output = b""
        self._used = 0
        self._at = 0
        self._error: Exception | None = None

    def read(self, count: int) -> bytes:
        parts: list[bytes] = []
        while count > 0 and (self._used < len(self._output) or self._fill()):
            part = self._output[self._used : self._used + count]
            self._used += len(part)
            self._at += len(part)
            count -= len(part)
            parts.append(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def skip_to(self, offset: int) -> None:
        while self._at < offset and self.read(min(offset - self._at, _UNPACKED)):
            pass

    def tell(self) -> int:
        return self._at

    def close(self) -> None:
        self._packed.close()

    def _fill(self) -> bool:
        """Unpack until there is output. False at a proper end."""
        if self._error is not None:  # the generator has ended with it, as at a proper end
            raise self._error
        try:
            self._output, self._used = next(self._pieces, b""), 0
        except _FaultError as fault:
            self._error = ShardError(fault.reason, f"{fault.detail}; copy the shard again", offset=self._at)
            raise self._error from fault
        except Exception as error:
            self._error = error
            raise
        return bool(self._output)


class _FaultError(Exception):
    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason, self.detail = reason, detail


class Unpacker(Protocol):
    """As bz2 and lzma have it."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int) -> bytes: ...


class _Gunzip:
    """zlib as an Unpacker. It returns all bytes that unpack before a corrupt one, and raises at the next call."""

    needs_input = True

    def __init__(self) -> None:
        self._zlib = zlib.decompressobj(wbits=31)
        self._error: zlib.error | None = None

    @property
    def eof(self) -> bool:
        return self._zlib.eof

    @property
    def unused_data(self) -> bytes:
        return self._zlib.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        if self._error is not None:
            raise self._error
        data = self._zlib.unconsumed_tail + data
        before = self._zlib.copy()
        try:
            output = self._zlib.decompress(data, max_length)
        except zlib.error as error:
            self._error, output = error, _salvage(before, data)
        self.needs_input = self._error is None and not self._zlib.unconsumed_tail
        return output


def _salvage(unpacker: zlib._Decompress, data: bytes) -> bytes:
    """Unpack what stands before the byte that zlib refuses: first in steps of 256 bytes, then byte by byte."""
    output = bytearray()
    for step in (256, 1):
        while data:
            before = unpacker.copy()
            try:
                output += unpacker.decompress(data[:step])
            except zlib.error:
                unpacker = before
                break
            data = data[step:]
    return bytes(output)


def _in_turn(packed: Stream, packing: Packing) -> Iterator[bytes]:
    """Unpack one stream after another; no piece is empty."""
    unpacker, data = packing.unpacker(), b""
    while True:
        if wanted := not data and unpacker.needs_input:
            data = packed.read(_PACKED)
        ended = wanted and not data
        try:
            output = unpacker.decompress(data, _UNPACKED if isinstance(unpacker, _Gunzip) else _UNPACKED_SMALL)
        except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
            raise _FaultError(f"{packing.name}_corrupt", one_line(error)) from error
        data = b""
        if output:
            yield output
        if unpacker.eof:
            data = _next_stream(packed, packing, unpacker.unused_data)
            if not data:
                return
            unpacker = packing.unpacker()
        elif ended and not output:
            detail = f"the {packing.name} stream stops after {packed.tell()} bytes"
            raise _FaultError(f"{packing.name}_truncated", detail)


def _next_stream(packed: Stream, packing: Packing, data: bytes) -> bytes:
    """The first bytes of the stream that follows the one that ended before `data`; empty when none does."""
    while len(data := data.lstrip(b"\0")) < len(packing.magic):
        more = packed.read(_PACKED)
        if not more:
            break
        data += more
    if data and not data.startswith(packing.magic):
        raise _FaultError(f"{packing.name}_trailing_data", f"other bytes follow the {packing.name} stream")
    return data


class _AsFile:
    """A stream as the file that Arrow reads from. error: of the stream, which Arrow may wrap."""

    closed = False

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self.error: Exception | None = None

    def read(self, count: int) -> bytes:
        try:
            return self._stream.read(count)
        except Exception as error:
            self.error = error
            raise

    def close(self) -> None:
        self.closed = True


def _zstandard(packed: Stream, packing: Packing) -> Iterator[bytes]:
    """Unpack by Arrow, whose library is the only one here: Python has none before 3.14."""
    source, any_output = _AsFile(packed), False
    with pa.CompressedInputStream(pa.PythonFile(source, mode="r"), "zstd") as stream:
        while True:
            try:
                output = stream.read(_UNPACKED_SMALL)
            except OSError as error:
                if source.error is not None:
                    raise source.error from error
                what = "truncated" if "Truncated" in str(error) else "corrupt"
                if any_output and "Unknown frame" in str(error):
                    what = "trailing_data"
                raise _FaultError(f"{packing.name}_{what}", one_line(error)) from error
            if not output:
                return
            any_output = True
            yield output


def _xz() -> Unpacker:
    return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_MEMORY)


@dataclass(frozen=True, kw_only=True)
class Packing:
    """One way in which a tar is packed. name: begins its reasons. magic: its first bytes."""

    name: str
    magic: bytes
    suffixes: tuple[str, ...]
    pieces: Callable[[Stream, Packing], Iterator[bytes]] = _in_turn
    unpacker: Callable[[], Unpacker] = _Gunzip


PACKINGS: Final = (
    Packing(name="gzip", magic=b"\x1f\x8b", suffixes=(".tar.gz", ".tgz")),
    Packing(name="bzip2", magic=b"BZh", suffixes=(".tar.bz2", ".tbz2", ".tbz"), unpacker=bz2.BZ2Decompressor),
    Packing(name="xz", magic=b"\xfd7zXZ\0", suffixes=(".tar.xz", ".txz"), unpacker=_xz),
    Packing(name="zstd", magic=b"\x28\xb5\x2f\xfd", suffixes=(".tar.zst", ".tzst"), pieces=_zstandard),
)


def unpacked(stream: Stream, path: str) -> Stream:
    """Return the tar in a stream that stands at its start and can go back there: unpacked as its first bytes say, or as
    its name where they say nothing (a file that is cut there must not look like a bad tar)."""
    head = stream.read(512)
    stream.skip_to(0)
    if head[257:262] == b"ustar":
        return stream
    packing = next((p for p in PACKINGS if head.startswith(p.magic)), None)
    packing = packing or next((p for p in PACKINGS if path.lower().endswith(p.suffixes)), None)
    return UnpackedStream(stream, packing) if packing else stream
