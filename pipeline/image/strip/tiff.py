"""Keep the tags of a TIFF that are its picture (TIFF 6.0, Technical Note 2 for JPEG, the BigTIFF layout)."""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from typing import Final

from pipeline.image.strip import jpeg
from pipeline.image.strip.problems import CannotStrip, malformed

_WIDTH, _LENGTH, _BITS, _COMPRESSION, _PHOTOMETRIC = 256, 257, 258, 259, 262
_STRIP_OFFSETS, _SAMPLES, _ROWS_PER_STRIP, _STRIP_COUNTS, _PLANAR = 273, 277, 278, 279, 284
_TILE_WIDTH, _TILE_LENGTH, _TILE_OFFSETS, _TILE_COUNTS = 322, 323, 324, 325
_JPEG_TABLES, _ICC = 347, 34675
_RANGE: Final = (280, 281)
"""Range of the samples. Some writers type it UNDEFINED; it is written as BYTE."""
_KEPT: Final = {
    # Tag -> maximum number of its values. All are numbers, so that no text can hide in them.
    _WIDTH: 1, _LENGTH: 1, _BITS: 16, _COMPRESSION: 1, _PHOTOMETRIC: 1,
    266: 1, _SAMPLES: 1, _ROWS_PER_STRIP: 1, 282: 1, 283: 1, _PLANAR: 1,  # fill order, resolution
    **dict.fromkeys(_RANGE, 16),
    292: 1, 293: 1, 296: 1, 317: 1, 318: 2, 319: 6,  # fax options, resolution unit, predictor, white point, primaries
    320: 3 << 16, _TILE_WIDTH: 1, _TILE_LENGTH: 1, 332: 1,  # palette, ink set
    338: 16, 339: 16, 340: 16, 341: 16, _JPEG_TABLES: 1 << 16,  # extra samples, sample format, its range
    529: 3, 530: 2, 531: 1, 532: 10,  # YCbCr
}  # fmt: skip
_PLAIN_CODECS: Final = (1, 2, 3, 4, 5, 8, 32773, 32946, 34925, 50000)
"""None, fax, LZW, deflate, PackBits, LZMA, Zstandard: streams that hold only samples."""
_UNCOMPRESSED, _JPEG, _YCBCR, _PLANES = 1, 7, 6, 2
_OF_A_PLANE: Final = (_WIDTH, _LENGTH, _COMPRESSION, 266, _ROWS_PER_STRIP, 317, _TILE_WIDTH, _TILE_LENGTH)
_FORMATS: Final = {1: "B", 3: "H", 4: "I", 5: "2I", 6: "b", 7: "B", 8: "h", 9: "i", 10: "2i", 11: "f", 12: "d", 16: "Q"}
_BYTE, _SHORT, _LONG, _UNDEFINED, _LONG8 = 1, 3, 4, 7, 16


@dataclass(frozen=True, kw_only=True)
class Field:
    """A tag's value. kind: TIFF's type of number. count: of numbers. raw: their bytes, in the order of the file."""

    kind: int
    count: int
    raw: bytes


def strip(data: bytes, *, keep_icc: bool) -> bytes:
    """Keep the first page, in a classic TIFF of the same byte order with the strips or tiles copied."""
    order, page = _first_page(data)
    kept = {tag: field for tag, field in page.items() if tag in _KEPT or (tag == _ICC and keep_icc)}
    for tag, field in kept.items():
        if field.kind == _UNDEFINED and tag in _RANGE:
            field = kept[tag] = replace(field, kind=_BYTE)
        opaque = tag in (_JPEG_TABLES, _ICC)
        if field.count > _KEPT.get(tag, 1 << 24) or (field.kind == _UNDEFINED) != opaque:
            raise CannotStrip(f"TIFF tag {tag} holds {field.count} values of type {field.kind}")
        if field.kind == _LONG8:
            kept[tag] = _long(order, _numbers(order, field))
    if _JPEG_TABLES in kept:
        tables = jpeg.strip(kept[_JPEG_TABLES].raw, keep_icc=False, tables_only=True)
        kept[_JPEG_TABLES] = Field(kind=_UNDEFINED, count=len(tables), raw=tables)
    tiled = _TILE_OFFSETS in page
    pieces = _pieces(data, order, page, tiled=tiled)
    return write(order, kept, pieces, tiled=tiled)


def planes(data: bytes) -> list[bytes]:
    """Make a grey TIFF of each plane of a TIFF whose colours stand apart (PlanarConfiguration 2). Raises as `strip`."""
    order, page = _first_page(data)
    tiled = _TILE_OFFSETS in page
    pieces = _pieces(data, order, page, tiled=tiled)
    count = _one(order, page, _SAMPLES, 1)
    if len(pieces) % count:
        raise malformed("tiff", f"{len(pieces)} pieces of {count} planes")
    kept = {tag: field for tag, field in page.items() if tag in _OF_A_PLANE}
    for tag, number in ((_BITS, _numbers(order, page[_BITS])[0]), (_PHOTOMETRIC, 1), (_SAMPLES, 1)):
        kept[tag] = _long(order, [number])
    each = len(pieces) // count
    return [write(order, kept, pieces[at : at + each], tiled=tiled) for at in range(0, len(pieces), each)]


def _first_page(data: bytes) -> tuple[str, dict[int, Field]]:
    order = {b"II": "<", b"MM": ">"}.get(data[:2], "")
    if not order or len(data) < 16:
        raise malformed("tiff", f"expected II or MM, got {data[:2]!r} of {len(data)} bytes")
    (version,) = struct.unpack_from(order + "H", data, 2)
    if version == 42:
        count_format, entry_size, offset_format, at = "H", 12, "I", struct.unpack_from(order + "I", data, 4)[0]
    elif version == 43:
        count_format, entry_size, offset_format, at = "Q", 20, "Q", struct.unpack_from(order + "Q", data, 8)[0]
    else:
        raise malformed("tiff", f"expected version 42 or 43, got {version}")
    try:
        (entries,) = struct.unpack_from(order + count_format, data, at)
        at += struct.calcsize(order + count_format)
        if at + entries * entry_size > len(data):
            raise malformed("tiff", f"{entries} tags from byte {at} on, the file ends at {len(data)}")
        page = {}
        for start in range(at, at + entries * entry_size, entry_size):
            tag, kind = struct.unpack_from(order + "HH", data, start)
            (count,) = struct.unpack_from(order + offset_format, data, start + 4)
            if kind in _FORMATS:
                size = struct.calcsize(order + _FORMATS[kind]) * count
                value = start + entry_size - struct.calcsize(offset_format)
                if size > struct.calcsize(offset_format):
                    (value,) = struct.unpack_from(order + offset_format, data, value)
                if tag in _KEPT or tag in (_ICC, _STRIP_OFFSETS, _STRIP_COUNTS, _TILE_OFFSETS, _TILE_COUNTS):
                    if value + size > len(data):
                        raise malformed("tiff", f"tag {tag} wants bytes {value} to {value + size} of {len(data)}")
                    page[tag] = Field(kind=kind, count=count, raw=data[value : value + size])
    except struct.error as error:
        raise malformed("tiff", f"its page runs over the end of the file ({error})") from error
    return order, page


def _numbers(order: str, field: Field) -> list[int]:
    if field.kind not in (_BYTE, _SHORT, _LONG, _LONG8):
        raise malformed("tiff", f"expected whole numbers, got type {field.kind}")
    return list(struct.unpack(f"{order}{field.count}{_FORMATS[field.kind]}", field.raw))


def _long(order: str, values: list[int]) -> Field:
    if max(values, default=0) >= 1 << 32:
        raise CannotStrip("TIFF with values past 4 GiB")
    return Field(kind=_LONG, count=len(values), raw=struct.pack(f"{order}{len(values)}I", *values))


def field(order: str, kind: int, *numbers: float) -> Field:
    """Make the value of a tag. order: `<` or `>`. kind: TIFF's type; RATIONAL takes two numbers a value."""
    form = _FORMATS[kind]
    raw = struct.pack(f"{order}{len(numbers)}{form[-1]}", *numbers)
    return Field(kind=kind, count=len(numbers) // len(form), raw=raw)


def _pieces(data: bytes, order: str, page: dict[int, Field], *, tiled: bool) -> list[bytes]:
    """Cut out the encoded strips or tiles, each with its samples only."""
    keys = (_TILE_OFFSETS, _TILE_COUNTS) if tiled else (_STRIP_OFFSETS, _STRIP_COUNTS)
    if keys[0] not in page or keys[1] not in page:
        raise CannotStrip(f"TIFF without tags {keys[0]} and {keys[1]}")
    offsets, counts = (_numbers(order, page[key]) for key in keys)
    if len(offsets) != len(counts) or sum(counts) > len(data):
        raise malformed("tiff", f"{len(offsets)} offsets, {len(counts)} sizes of {sum(counts)} bytes in all")
    if any(offset + count > len(data) for offset, count in zip(offsets, counts, strict=True)):
        raise malformed("tiff", f"pixel data runs over the end of the file at byte {len(data)}")
    if 0 in counts:
        raise CannotStrip(f"TIFF with a size of 0 in tag {keys[1]}")  # decoders work the size out by themselves
    pieces = [data[offset : offset + count] for offset, count in zip(offsets, counts, strict=True)]
    codec = _one(order, page, _COMPRESSION, 1)
    if codec == _JPEG:
        return [jpeg.strip(piece, keep_icc=False) for piece in pieces]
    if codec not in _PLAIN_CODECS:
        raise CannotStrip(f"TIFF with compression {codec}")
    if codec == _UNCOMPRESSED:
        sizes = _sizes(order, page, len(pieces), tiled=tiled)
        if any(len(piece) < size for piece, size in zip(pieces, sizes, strict=True)):
            raise CannotStrip(f"TIFF whose tag {keys[1]} is too small for its pixels")
        return [piece[:size] for piece, size in zip(pieces, sizes, strict=True)]
    return pieces


def _sizes(order: str, page: dict[int, Field], pieces: int, *, tiled: bool) -> list[int]:
    """Bytes of samples in each uncompressed piece: any bytes that the file declares beyond them are not pixels."""
    if _one(order, page, _PHOTOMETRIC, 0) == _YCBCR:
        raise CannotStrip("uncompressed YCbCr TIFF")
    bits = _numbers(order, page[_BITS])[0] if _BITS in page else 1
    samples = 1 if _one(order, page, _PLANAR, 1) == _PLANES else _one(order, page, _SAMPLES, 1)
    width = _one(order, page, _TILE_WIDTH if tiled else _WIDTH, 0)
    row = (width * bits * samples + 7) // 8
    if tiled:
        return [row * _one(order, page, _TILE_LENGTH, 0)] * pieces
    height = _one(order, page, _LENGTH, 0)
    rows = max(1, min(_one(order, page, _ROWS_PER_STRIP, height), height))
    strips = -(-height // rows)  # of one plane
    return [row * min(rows, height - index % strips * rows) for index in range(pieces)]


def _one(order: str, page: dict[int, Field], tag: int, default: int) -> int:
    numbers = _numbers(order, page[tag]) if tag in page else [default]
    if len(numbers) != 1:
        raise malformed("tiff", f"expected one number in tag {tag}, got {len(numbers)}")
    return numbers[0]


def write(order: str, kept: dict[int, Field], pieces: list[bytes], *, tiled: bool) -> bytes:
    """Write a classic TIFF: the header, one page, the values that do not fit into it, and the pixels.

    order: `<` or `>`. kept: tag -> value, without the offsets and sizes. pieces: the encoded strips or tiles.
    """
    offsets_tag, counts_tag = (_TILE_OFFSETS, _TILE_COUNTS) if tiled else (_STRIP_OFFSETS, _STRIP_COUNTS)
    fields = {tag: field for tag, field in kept.items() if tag not in (offsets_tag, counts_tag)}
    fields[counts_tag] = _long(order, [len(piece) for piece in pieces])
    fields[offsets_tag] = _long(order, [0] * len(pieces))  # placeholder of the same length
    values_at = 8 + 2 + 12 * len(fields) + 4
    pixels_at = values_at + sum(_even(len(field.raw)) for field in fields.values() if len(field.raw) > 4)
    offsets = []
    for piece in pieces:
        offsets.append(pixels_at)
        pixels_at += _even(len(piece))
    fields[offsets_tag] = _long(order, offsets)

    directory, values = [struct.pack(order + "H", len(fields))], []
    for tag, field in sorted(fields.items()):
        entry = struct.pack(order + "HHI", tag, field.kind, field.count)
        if len(field.raw) <= 4:
            directory.append(entry + field.raw.ljust(4, b"\0"))
        else:
            directory.append(entry + struct.pack(order + "I", values_at))
            values.append(field.raw.ljust(_even(len(field.raw)), b"\0"))
            values_at += len(values[-1])
    header = {"<": b"II", ">": b"MM"}[order] + struct.pack(order + "HI", 42, 8)
    pixels = [piece.ljust(_even(len(piece)), b"\0") for piece in pieces]
    return b"".join((header, *directory, bytes(4), *values, *pixels))


def _even(length: int) -> int:
    return length + (length & 1)
