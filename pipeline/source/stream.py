"""Read the bytes of a shard in order, plain or gzipped, a bounded part at a time, and skip over others."""

from __future__ import annotations

import errno
import zlib
from typing import Final, Protocol

from pipeline.errors import ShardError
from pipeline.records import Shard
from pipeline.source.listing import DETAILS, parent
from pipeline.source.object_errors import of_one_object
from pipeline.storage.store import Reader, open_store

_PIECE: Final = 4 << 20  # bytes of one read; a reader keeps as much again
_PACKED: Final = 1 << 16  # compressed bytes at a time; constant, so that every pass meets a corrupt byte at one offset
_UNPACKED: Final = 1 << 20  # maximum of bytes that one call unpacks such a piece to


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


class GzipStream:
    """The unpacked bytes of a gzip stream (RFC 1952) of one or more members.

    All bytes that unpack before a corrupt one are returned before the error. Raises ShardError `gzip_truncated`,
    `gzip_corrupt` (a bad code or checksum) or `gzip_trailing_data` (anything but zeros after the last member); offsets
    are of the unpacked stream.
    """

    def __init__(self, packed: Stream) -> None:
        self._packed = packed
        self._unpacker = zlib.decompressobj(wbits=31)
        self._input = b""
        self._output = b""
        self._used = 0
        self._at = 0
        self._ended = False
        self._problem: tuple[str, str] | None = None

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
        while not self._ended:
            if self._problem:
                raise ShardError(*self._problem, offset=self._at)
            self._output, self._used = self._next_member() if self._unpacker.eof else self._unpack(), 0
            if self._output:
                return True
        return False

    def _unpack(self) -> bytes:
        data = self._input or self._packed.read(_PACKED)
        if not data:
            rest = self._unpacker.flush()
            if not self._unpacker.eof:
                self._problem = (
                    "gzip_truncated",
                    f"the gzip stream stops after {self._packed.tell()} bytes; copy the shard again",
                )
            return rest
        before = self._unpacker.copy()
        try:
            output = self._unpacker.decompress(data, _UNPACKED)
        except zlib.error as error:
            self._problem = ("gzip_corrupt", f"{error}; copy the shard again")
            return _salvage(before, data)
        self._input = self._unpacker.unused_data if self._unpacker.eof else self._unpacker.unconsumed_tail
        return output

    def _next_member(self) -> bytes:
        data = self._input
        while len(data := data.lstrip(b"\0")) < 2:
            more = self._packed.read(_PACKED)
            if not more:
                break
            data += more
        self._input = data
        if not data:
            self._ended = True
        elif data[:2] == b"\x1f\x8b":
            self._unpacker = zlib.decompressobj(wbits=31)
        else:
            self._problem = (
                "gzip_trailing_data",
                "other bytes follow the gzip stream; the shard was not written by one gzip",
            )
        return b""


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
