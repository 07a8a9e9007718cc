"""Keep the bytes of a BMP that are its picture (the Windows BITMAPCOREHEADER to BITMAPV5HEADER family)."""

from __future__ import annotations

import struct
from typing import Final

import numpy as np

from pipeline.image.strip.problems import CannotStrip, malformed

_CORE: Final = 12
_HEADERS: Final = (_CORE, 40, 52, 56, 108, 124)
_RGB, _RLE8, _RLE4, _BITFIELDS, _ALPHABITFIELDS = 0, 1, 2, 3, 6
_SRGB: Final = 0x73524742


def strip(data: bytes) -> bytes:
    """Keep header, palette and pixels, without gaps, profile or trailing bytes; padding becomes zero."""
    if data[:2] != b"BM" or len(data) < 26:
        raise malformed("bmp", f"expected BM and two headers, got {len(data)} bytes that begin with {data[:2]!r}")
    offset, size = struct.unpack_from("<II", data, 10)
    if size not in _HEADERS:
        raise CannotStrip(f"BMP header of {size} bytes")
    if 14 + size > len(data):
        raise malformed("bmp", f"its header of {size} bytes runs over the end of the file")
    head = bytearray(data[14 : 14 + size])
    width, height, bits, compression, colours = _fields(head)
    masks = {_BITFIELDS: 12, _ALPHABITFIELDS: 16}.get(compression, 0) if size == 40 else 0
    entry = 3 if size == _CORE else 4
    palette_at = 14 + size + masks
    if colours > 1 << min(bits, 8) or offset < palette_at or offset > len(data):
        raise malformed("bmp", f"{colours} colours of {bits} bits, pixels at byte {offset} of {len(data)}")
    # The pixels may begin before the palette has all its entries: it ends there.
    palette = bytearray(data[palette_at : min(offset, palette_at + colours * entry)])
    if entry == 4:
        palette[3::4] = bytes(len(palette[3::4]))
    if compression in (_RLE8, _RLE4):
        pixels = data[offset : _rle_end(data, offset, four_bits=compression == _RLE4)]
    elif compression in (_RGB, _BITFIELDS, _ALPHABITFIELDS):
        pixels = _rows(data, offset, width, height, bits)
    else:
        raise CannotStrip(f"BMP with compression {compression}")
    _rewrite(head, size, len(pixels), colours)
    body = bytes(head) + data[14 + size : palette_at] + bytes(palette)
    return struct.pack("<2sIHHI", b"BM", 14 + len(body) + len(pixels), 0, 0, 14 + len(body)) + body + pixels


def _fields(head: bytearray) -> tuple[int, int, int, int, int]:
    """Width, height (positive), bits a pixel, compression, colours of the palette."""
    if len(head) == _CORE:
        width, height, _, bits = struct.unpack_from("<HHHH", head, 4)
        return width, height, bits, _RGB, 1 << bits if bits <= 8 else 0
    width, height, _, bits, compression = struct.unpack_from("<iiHHI", head, 4)
    (used,) = struct.unpack_from("<I", head, 32)
    if width <= 0 or height == 0 or bits not in (1, 2, 4, 8, 16, 24, 32):
        raise malformed("bmp", f"{width} x {height} pixels of {bits} bits")
    return width, abs(height), bits, compression, (used or 1 << bits) if bits <= 8 else 0


def _rows(data: bytes, offset: int, width: int, height: int, bits: int) -> bytes:
    used = (width * bits + 7) // 8
    stride = (used + 3) // 4 * 4
    if offset + stride * height > len(data):
        raise malformed("bmp", f"{height} rows of {stride} bytes from byte {offset} on, the file ends at {len(data)}")
    rows = np.frombuffer(data, np.uint8, stride * height, offset).reshape(height, stride).copy()
    rows[:, used:] = 0  # writers leave bytes of their memory here
    return rows.tobytes()


def _rle_end(data: bytes, at: int, *, four_bits: bool) -> int:
    """Find the position behind the end-of-bitmap code."""
    while at + 2 <= len(data):
        count, value = data[at], data[at + 1]
        at += 2
        if count == 0 and value == 1:
            return at
        if count == 0 and value == 2:
            at += 2
        elif count == 0 and value > 2:
            length = (value + 1) // 2 if four_bits else value
            at += length + (length & 1)
    raise malformed("bmp", "the run-length data ends without its end code")


def _rewrite(head: bytearray, size: int, pixel_bytes: int, colours: int) -> None:
    """Set the sizes of the rebuilt file, and drop the profile of a V5 header (a path, or an embedded one)."""
    if size == _CORE:
        return
    struct.pack_into("<I", head, 20, pixel_bytes)
    struct.pack_into("<II", head, 32, colours, 0)
    if size >= 108:
        if head[56:60] in (b"LINK"[::-1], b"MBED"[::-1]):
            struct.pack_into("<I", head, 56, _SRGB)
        if size == 124:
            head[112:124] = bytes(12)
