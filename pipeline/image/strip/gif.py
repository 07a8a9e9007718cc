"""Keep the blocks of a GIF that are its picture (GIF89a)."""

from __future__ import annotations

from typing import Final

from pipeline.image.strip.problems import malformed

_EXTENSION, _IMAGE, _TRAILER = 0x21, 0x2C, 0x3B
_GRAPHIC_CONTROL: Final = 0xF9


def strip(data: bytes) -> bytes:
    """Keep the first frame with its palette and transparency, not comments, application data, text or other frames."""
    if data[:6] not in (b"GIF87a", b"GIF89a") or len(data) < 13:
        raise malformed("gif", f"expected GIF87a or GIF89a and a screen descriptor, got {data[:6]!r}")
    at = 13 + _palette_bytes(data[10])
    screen = data[:at]
    control = b""
    while at < len(data):
        start = at
        if data[at] == _EXTENSION:
            at = _skip_blocks(data, at + 2)
            if data[start + 1] == _GRAPHIC_CONTROL and data[start + 2] == 4:
                control = data[start : start + 7] + b"\0"
        elif data[at] == _IMAGE and at + 10 < len(data):
            at = _skip_blocks(data, at + 11 + _palette_bytes(data[at + 9]))  # 10 of descriptor, 1 of LZW code size
            return screen + control + data[start:at] + bytes((_TRAILER,))
        else:
            break
    raise malformed("gif", f"expected a block of the first frame at byte {at} of {len(data)}")


def _palette_bytes(packed: int) -> int:
    return 3 << ((packed & 7) + 1) if packed & 0x80 else 0


def _skip_blocks(data: bytes, at: int) -> int:
    """Find the position behind a chain of length-prefixed sub-blocks that begins at `at`."""
    while at < len(data):
        length = data[at]
        at += 1 + length
        if length == 0:
            return at
    raise malformed("gif", "a chain of sub-blocks runs over the end of the file")
