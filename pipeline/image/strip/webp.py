"""Keep the chunks of a WebP that are its picture (RFC 9649)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from pipeline.image.strip.problems import CannotStrip, malformed

_PICTURE: Final = (b"VP8 ", b"VP8L")
_ALPHA, _ICC = 0x10, 0x20
"""Flags of VP8X that may stay; the others (EXIF 0x08, XMP 0x04, animation 0x02) never do."""


def strip(data: bytes, *, keep_icc: bool) -> bytes:
    """Keep one still picture with its alpha and, with `keep_icc`, its profile."""
    kept: dict[bytes, bytes] = {}
    for kind, body in chunks(data):
        if kind in (b"ANIM", b"ANMF"):
            raise CannotStrip("animated WebP")
        if kind in (*_PICTURE, b"ALPH", b"VP8X") or (kind == b"ICCP" and keep_icc):
            if kind in kept:
                raise malformed("webp", f"two {kind!r} chunks")
            kept[kind] = body
    pictures = [kind for kind in _PICTURE if kind in kept]
    if len(pictures) != 1:
        raise malformed("webp", f"expected one VP8 or VP8L chunk, got {len(pictures)}")
    order: tuple[bytes, ...] = (b"VP8X", b"ICCP", b"ALPH", pictures[0])
    if b"VP8X" in kept:
        extended = kept[b"VP8X"]
        if len(extended) != 10:
            raise malformed("webp", f"expected a VP8X chunk of 10 bytes, got {len(extended)}")
        flags = extended[0] & _ALPHA | (_ICC if b"ICCP" in kept else 0)
        kept[b"VP8X"] = bytes((flags, 0, 0, 0)) + extended[4:]
    else:
        order = (pictures[0],)  # the simple layout has no other chunk; decoders ignore any that follow
    body = b"WEBP" + b"".join(_chunk(kind, kept[kind]) for kind in order if kind in kept)
    return b"RIFF" + len(body).to_bytes(4, "little") + body


def is_lossless(data: bytes) -> bool:
    """Whether the pixels of a WebP, or of a frame of it, are coded without loss."""
    return any(kind == b"VP8L" or (kind == b"ANMF" and body[16:20] == b"VP8L") for kind, body in chunks(data))


def chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield (kind, body) in file order, up to the size that the RIFF header declares."""
    if data[:4] != b"RIFF" or data[8:12] != b"WEBP":
        raise malformed("webp", f"expected RIFF....WEBP, got {data[:12]!r}")
    stop = 8 + int.from_bytes(data[4:8], "little")
    if stop > len(data):
        raise malformed("webp", f"the header declares {stop} bytes, there are {len(data)}")
    at = 12
    while at + 8 <= stop:
        length = int.from_bytes(data[at + 4 : at + 8], "little")
        if at + 8 + length > stop:
            raise malformed("webp", f"chunk {data[at : at + 4]!r} at byte {at} wants {length} bytes, the file ends")
        yield data[at : at + 4], data[at + 8 : at + 8 + length]
        at += 8 + length + (length & 1)


def _chunk(kind: bytes, body: bytes) -> bytes:
    return kind + len(body).to_bytes(4, "little") + body + b"\0" * (len(body) & 1)
