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


def strip(data: bytes, *, icc: bytes) -> bytes:
    """Keep the chunks that define the pixels, up to IEND. The CRCs of dropped chunks are checked, too.

    icc: the profile to embed, or empty. The iCCP chunk is written anew because its name field is free text. Of an APNG
    the default image stays, without frames and controls.
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
            out.append(_chunk(b"iCCP", b"icc\0\0" + zlib.compress(icc)))
        elif kind == b"IEND":
            if b"IDAT" not in seen:
                raise malformed("png", "it ends before its first IDAT")
            return b"".join((*out, _chunk(b"IEND", b"")))
        seen.add(kind)
        at = end


def _chunk(kind: bytes, body: bytes) -> bytes:
    return len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big")
