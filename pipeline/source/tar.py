"""Read the members of a tar stream strictly: anything but one whole archive is an error.

Formats: V7, POSIX ustar and pax (IEEE Std 1003.1, "pax"), GNU (long names and links, base-256 sizes, sparse headers;
GNU tar manual, "Basic Tar Format"). Python's tarfile ends without an error at a truncation between or inside headers,
at a corrupt header, at a stray zero block and at the seam of concatenated archives. Each is a ShardError here:

    tar_truncated       the stream stops inside a header, a member's data or its padding
    tar_bad_header      a wrong checksum, number or extended header
    tar_no_end          no end-of-archive (two zero blocks), or half of one
    tar_stray_zero      one zero block with more after it
    tar_trailing_data   anything but zeros after the end-of-archive, such as a second archive
    tar_global_header   a pax global header that renames or resizes members: no reader could start behind it
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from pipeline.errors import ShardError
from pipeline.source import names
from pipeline.source.stream import Stream

Kind: TypeAlias = Literal["file", "folder", "other"]

BLOCK: Final = 512
_ZEROS: Final = bytes(BLOCK)
_MAX_EXTENSION: Final = 1 << 20  # bytes of one extended header, which usually holds a name
_MAX_SIZE: Final = 1 << 60
_DRAIN: Final = 1 << 16

_REGULAR: Final = (b"0", b"\0", b"7")
_NO_DATA: Final = {
    b"1": "a hard link",
    b"2": "a symbolic link",
    b"3": "a character device",
    b"4": "a block device",
    b"6": "a fifo",
}
_SPARSE: Final = "a sparse file"


@dataclass(frozen=True, kw_only=True, slots=True)
class TarMember:
    """offset: of its first header, extended ones included: a reader that starts there meets this member first.
    name: as `names.text` decodes it. kind: `folder` also for a volume label; neither has data. size: bytes of data in
    the archive. what: description of a member of kind `other`."""

    offset: int
    name: str
    kind: Kind
    size: int
    what: str = ""


class TarReader:
    """Reads a stream from its position on: `next` for a member, then `head` and `read` for its data if wanted.

    end: offset of the end-of-archive, once `next` has returned None.
    """

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._left = 0  # bytes of data and padding until the next header
        self._size = 0
        self._head = b""
        self._offset = -1
        self.end = -1

    def next(self) -> TarMember | None:
        """Read the next member; None at a proper end of archive and stream."""
        self._skip_rest()
        self._offset = -1
        long_name: bytes | None = None
        pax: dict[str, bytes] = {}
        while True:
            at = self._stream.tell()
            block = self._header(at, extended=self._offset >= 0)
            if block == _ZEROS:
                if self._offset >= 0:
                    raise _bad(self._offset, "an extended header is followed by no member")
                self._check_end(at)
                self.end = at
                return None
            _check_sum(block, at)
            size, flag = _number(block[124:136], at), block[156:157]
            if flag == b"g":
                _refuse_overrides(_records(self._extension(size, at), at), at)
                continue
            if self._offset < 0:
                self._offset = at
            if flag == b"L":
                long_name = self._extension(size, at).split(b"\0", 1)[0]
            elif flag == b"K":
                self._extension(size, at)
            elif flag in (b"x", b"X"):
                pax |= _records(self._extension(size, at), at)
            else:
                return self._member(block, flag, size, long_name, pax)

    def head(self, count: int) -> bytes:
        """Read the first bytes of the member that `next` returned; `read` returns them again."""
        if not self._head:
            self._head = self._exactly(min(count, self._size), before=0)
        return self._head

    def read(self) -> bytes:
        """Read the data of the member that `next` returned, once."""
        head, self._head = self._head, b""
        data = head + self._exactly(self._size - len(head), before=len(head))
        self._size = 0
        return data

    def _exactly(self, count: int, before: int) -> bytes:
        data = self._stream.read(count)
        self._left -= len(data)
        if len(data) < count:
            raise self._truncated(f"a member of {self._size} bytes has only {before + len(data)}")
        return data

    def _member(
        self, block: bytes, flag: bytes, size: int, long_name: bytes | None, pax: dict[str, bytes]
    ) -> TarMember:
        raw = _name(block) if long_name is None else long_name
        raw = pax.get("path") or raw
        if pax.get("size"):
            size = _decimal(pax["size"], self._offset)
        sparse = flag == b"S" or any(key.startswith("GNU.sparse.") for key in pax)
        raw = pax.get("GNU.sparse.name") or raw
        if flag == b"S":
            self._skip_sparse_map(block)
        kind: Kind = "other"
        what = ""
        if flag in (b"5", b"V") or (flag in (b"0", b"\0") and raw.endswith(b"/") and size == 0):
            kind, size = "folder", 0
        elif flag in _NO_DATA:
            # POSIX gives these no data; a size in a hard link is that of its target.
            what, size = _NO_DATA[flag], 0
        elif sparse:
            what = _SPARSE
        elif flag in _REGULAR:
            kind = "file"
        else:
            what = f"a member of type {flag!r}"
        self._size = size
        self._left = size + -size % BLOCK
        return TarMember(offset=self._offset, name=names.text(raw), kind=kind, size=size, what=what)

    def _header(self, at: int, *, extended: bool) -> bytes:
        block = self._stream.read(BLOCK)
        if not block and not extended:
            raise ShardError(
                "tar_no_end",
                "the archive stops without its two zero blocks: its end is missing; copy it again",
                offset=at,
            )
        if len(block) < BLOCK:
            raise ShardError(
                "tar_truncated", f"a header has only {len(block)} of {BLOCK} bytes; copy the shard again", offset=at
            )
        return block

    def _check_end(self, at: int) -> None:
        second = self._stream.read(BLOCK)
        if len(second) < BLOCK and not any(second):
            raise ShardError("tar_no_end", "the archive stops after one zero block of two; copy it again", offset=at)
        if second != _ZEROS:
            raise ShardError(
                "tar_stray_zero", "one zero block stands alone with more after it; pack the shard again", offset=at
            )
        while data := self._stream.read(_DRAIN):
            if data.count(0) != len(data):
                where = self._stream.tell() - len(data.lstrip(b"\0"))
                detail = "more follows the end of the archive (concatenated archives?); pack the shard again as one"
                raise ShardError("tar_trailing_data", detail, offset=where)

    def _extension(self, size: int, at: int) -> bytes:
        if size > _MAX_EXTENSION:
            raise _bad(at, f"an extended header of {size} bytes (at most {_MAX_EXTENSION} are read)")
        padded = size + -size % BLOCK
        data = self._stream.read(padded)
        if len(data) < padded:
            raise ShardError(
                "tar_truncated",
                f"an extended header of {size} bytes has only {len(data)}; copy the shard again",
                offset=at,
            )
        return data[:size]

    def _skip_sparse_map(self, block: bytes) -> None:
        more = block[482]
        while more:
            more = self._header(self._stream.tell(), extended=True)[504]

    def _skip_rest(self) -> None:
        """Skip to the next header. Read the last byte before it: a skip past the end of a stream raises no error."""
        if self._left:
            self._stream.skip_to(self._stream.tell() + self._left - 1)
            if not self._stream.read(1):
                raise self._truncated("the data or padding of a member is cut off")
        self._left = self._size = 0
        self._head = b""

    def _truncated(self, what: str) -> ShardError:
        return ShardError("tar_truncated", f"{what}; copy the shard again", offset=self._offset)


def _bad(offset: int, what: str) -> ShardError:
    return ShardError("tar_bad_header", f"{what}; copy or pack the shard again", offset=offset)


def _check_sum(block: bytes, at: int) -> None:
    stored = _number(block[148:156], at)
    rest = block[:148] + b" " * 8 + block[156:]
    # Some old writers summed signed bytes.
    if stored not in (sum(rest), sum(rest) - 256 * sum(byte > 127 for byte in rest)):
        raise _bad(at, f"the header's checksum is {sum(rest)}, but it says {stored}")


def _number(field: bytes, at: int) -> int:
    """Parse an octal field, or GNU's base-256 when the first bit is set."""
    if field[0] & 0x80:
        value = int.from_bytes(bytes([field[0] & 0x7F]) + field[1:], "big")
        if field[0] & 0x40 or value > _MAX_SIZE:
            raise _bad(at, "a size is negative or beyond any file")
        return value
    digits = field.split(b"\0", 1)[0].strip(b" ")
    if digits.strip(b"01234567"):
        raise _bad(at, f"{field!r} is not an octal number")
    return int(digits or b"0", 8)


def _decimal(digits: bytes, at: int) -> int:
    if not digits.isdigit() or len(digits) > 18:
        raise _bad(at, f"{digits[:40]!r} is not a decimal number")
    return int(digits)


def _name(block: bytes) -> bytes:
    name = block[:100].split(b"\0", 1)[0]
    prefix = block[345:500].split(b"\0", 1)[0] if block[257:263] == b"ustar\0" else b""
    return prefix + b"/" + name if prefix else name


def _records(data: bytes, at: int) -> dict[str, bytes]:
    """Parse pax records, `LENGTH KEY=VALUE\\n`; LENGTH counts itself. The last one wins; an empty one undoes others."""
    found: dict[str, bytes] = {}
    position = 0
    while position < len(data):
        digits, space, _ = data[position : position + 20].partition(b" ")
        length = _decimal(digits, at) if space else 0
        record = data[position + len(digits) + 1 : position + length]
        key, equals, value = record[:-1].partition(b"=")
        if position + length > len(data) or not record.endswith(b"\n") or not equals or not key:
            raise _bad(at, "a pax record is malformed")
        found[names.text(key)] = value
        position += length
    return found


def _refuse_overrides(records: dict[str, bytes], at: int) -> None:
    for key in records:
        if key in ("path", "size") or key.startswith("GNU.sparse."):
            detail = f"a pax global header sets {key!r} for all members; pack the shard again without it"
            raise ShardError("tar_global_header", detail, offset=at)
