"""Walk the boxes of an ISO base media file (ISO/IEC 14496-12, 4.2), of which AVIF, JPEG 2000 and JPEG XL are made."""

from __future__ import annotations

import struct
from collections.abc import Iterator


def iso_boxes(data: bytes) -> Iterator[tuple[bytes, bytes, int]]:
    """Yield (type, body, missing) of each box in `data`. missing: bytes that the last one lacks of its size. Ends at a
    box that is smaller than its own head."""
    at = 0
    while at + 8 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        head = 8
        if size == 1 and at + 16 <= len(data):
            (size,), head = struct.unpack_from(">Q", data, at + 8), 16
        elif size == 0:
            size = len(data) - at
        if size < head:
            return
        yield kind, data[at + head : at + size], max(0, at + size - len(data))
        at += size
