"""Keep the bytes of a JPEG that are its picture (ITU T.81 annex B, JFIF 1.02, Adobe TN 5116, ICC.1 annex B.4)."""

from __future__ import annotations

from typing import Final

from pipeline.image.jpeg_scan import MARKER_IN_SCAN
from pipeline.image.strip.problems import CannotStrip, malformed

_SOI: Final = b"\xff\xd8"
_EOI: Final = b"\xff\xd9"
_STANDALONE: Final = frozenset((0x01, *range(0xD0, 0xD8)))
_FRAMES: Final = (0xC0, 0xC1, 0xC2, 0xC3, 0xC9, 0xCA, 0xCB)
_TABLES: Final = (0xC4, 0xCC, 0xDB, 0xDC, 0xDD)
"""DHT, DAC, DQT, DNL, DRI."""
_HIERARCHICAL: Final = frozenset((0xC5, 0xC6, 0xC7, 0xCD, 0xCE, 0xCF, 0xDE, 0xDF))
_APP0, _APP2, _APP14, _SOS = 0xE0, 0xE2, 0xEE, 0xDA


def strip(data: bytes, *, keep_icc: bool, tables_only: bool = False) -> bytes:
    """Keep frames, tables and scans up to the first EOI: the second images of an MPO, motion-photo trailers and gain
    maps stand behind it. tables_only: `data` is an abbreviated stream of tables (TIFF's JPEGTables), which has no
    scan."""
    if data[:2] != _SOI:
        raise malformed("jpeg", f"expected FF D8 at the start, got {data[:2].hex(' ') or 'nothing'}")
    out = [_SOI]
    scans = 0
    at = 2
    while True:
        at = data.find(b"\xff", at)  # decoders skip stray bytes between segments, so they can be left out
        while data[at : at + 2] == b"\xff\xff":
            at += 1
        if at < 0 or at + 2 > len(data):
            raise malformed("jpeg", "the end-of-image marker is missing: the file is cut off")
        code = data[at + 1]
        if code == 0xD9:
            if scans == 0 and not tables_only:
                raise malformed("jpeg", "it ends before its first scan")
            return b"".join((*out, _EOI))
        if code in _STANDALONE or code == 0x00:
            at += 2
            continue
        if code in _HIERARCHICAL:
            raise CannotStrip("hierarchical JPEG")
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        end = at + 2 + length
        if code == 0xD8 or length < 2 or end > len(data):
            raise malformed("jpeg", f"segment FF {code:02X} at byte {at} has length {length} of {len(data) - at} left")
        segment = data[at:end]
        if code == _SOS:
            scans += 1
            found = MARKER_IN_SCAN.search(data, end)
            end = found.start() if found else len(data)
            out.append(data[at:end])
        elif code in _FRAMES or code in _TABLES:
            out.append(segment)
        elif code == _APP0 and segment[4:9] == b"JFIF\0" and length >= 16 and len(out) == 1:
            out.append(_jfif(segment))
        elif code == _APP2 and segment[4:16] == b"ICC_PROFILE\0" and keep_icc:
            out.append(segment)
        elif code == _APP14 and segment[4:9] == b"Adobe" and length >= 14:
            out.append(_adobe(segment))
        at = end


def _jfif(segment: bytes) -> bytes:
    """Keep version, unit and density, not the thumbnail."""
    return b"\xff\xe0\x00\x10" + segment[4:16] + b"\x00\x00"


def _adobe(segment: bytes) -> bytes:
    """Keep the colour transform (YCC, YCCK, RGB or CMYK): without it the colours would be wrong."""
    return b"\xff\xee\x00\x0e" + segment[4:16]
