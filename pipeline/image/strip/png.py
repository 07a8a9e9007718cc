"""Keep the chunks of a PNG that are its picture (PNG 3rd edition, clauses 5 and 11)."""

from __future__ import annotations

import zlib
from typing import Final

from pipeline.image.strip.problems import malformed

_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_LONGEST: Final = {
    # Chunk -> longest body that the standard allows, so that no data can hide behind the real content.
    b"IHDR": 13,
    b"PLTE": 768,
    b"tRNS": 256,
    b"gAMA": 4,
    b"cHRM": 32,
    b"sRGB": 1,
    b"sBIT": 4,
    b"bKGD": 6,
    b"cICP": 4,
}


def strip(data: bytes, *, icc: bytes, keep_dpi: bool = False) -> bytes:
    """Keep the chunks that define the pixels, up to IEND. The CRCs of dropped chunks are checked, too.

    icc: the profile to embed, or empty. The iCCP chunk is written anew because its name field is free text. Of an APNG
    the default image stays, without frames and controls. keep_dpi: keep the resolution (pHYs).
    """
    if data[:8] != _SIGNATURE:
        raise malformed("png", f"expected the PNG signature, got {data[:8].hex(' ') or 'nothing'}")
    out = [_SIGNATURE]
    seen: set[bytes] = set()
    at = 8
    while True:
        kind = data[at + 4 : at + 8]
        length = int.from_bytes(data[at : at + 4], "big")
        end = at + 12 + length
        if len(kind) < 4 or end > len(data):
            raise malformed("png", f"chunk {kind!r} at byte {at} wants {length} bytes, the file ends at {len(data)}")
        if zlib.crc32(memoryview(data)[at + 4 : end - 4]) != int.from_bytes(data[end - 4 : end], "big"):
            raise malformed("png", f"chunk {kind!r} at byte {at} does not match its CRC")
        if not seen and kind != b"IHDR":
            raise malformed("png", f"expected IHDR first, got {kind!r}")
        if kind in _LONGEST:
            if kind in seen or length > _LONGEST[kind]:
                raise malformed("png", f"chunk {kind!r} at byte {at} is repeated or longer than {_LONGEST[kind]} bytes")
            out.append(data[at:end])
        elif kind == b"IDAT":
            out.append(data[at:end])
        elif kind == b"iCCP" and icc and kind not in seen:
            out.append(profile(icc))
        elif kind == b"pHYs" and keep_dpi and length == 9 and kind not in seen:
            out.append(data[at:end])
        elif kind == b"IEND":
            if b"IDAT" not in seen:
                raise malformed("png", "it ends before its first IDAT")
            return b"".join((*out, chunk(b"IEND", b"")))
        seen.add(kind)
        at = end


def bare(data: bytes) -> bytes:
    """Keep header and pixels of a PNG that a decoder has read, also if its checksums are wrong or its end is away."""
    out, at = [_SIGNATURE], 8
    while at + 8 <= len(data) and (kind := data[at + 4 : at + 8]) != b"IEND":
        end = at + 8 + int.from_bytes(data[at : at + 4], "big")
        if kind in (b"IHDR", b"IDAT"):
            out.append(chunk(kind, data[at + 8 : end]))
        at = end + 4
    return b"".join((*out, chunk(b"IEND", b"")))


def profile(icc: bytes) -> bytes:
    """Make the chunk of a colour profile. Its name is free text, so it is always the same."""
    return chunk(b"iCCP", b"icc\0\0" + zlib.compress(icc))


def density(dpi: tuple[float, float]) -> bytes:
    """Make the chunk of a resolution: pixels a metre, across and down."""
    return chunk(b"pHYs", b"".join(round(number / 0.0254).to_bytes(4, "big") for number in dpi) + b"\1")


def chunk(kind: bytes, body: bytes) -> bytes:
    """Make a chunk with its length and CRC."""
    return len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big")
