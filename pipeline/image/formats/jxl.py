"""Open JPEG XL (ISO 18181) with pillow-jxl-plugin (libjxl).

The plugin decodes all pixels when it opens a file, so the size is read here, before it. It is given the codestream
only: without the box that rebuilds a JPEG it decodes the picture itself, turned upright by the codestream's own
orientation, and no EXIF or XMP box reaches it. Of an animation it returns the last frame, so animations are refused.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import pillow_jxl
from numpy.typing import NDArray
from PIL import ImageFile

from pipeline.errors import ImageError
from pipeline.image.boxes import iso_boxes
from pipeline.image.formats.lazy import LazyImage

_RATIOS: Final = {1: (1, 1), 2: (12, 10), 3: (4, 3), 4: (3, 2), 5: (16, 9), 6: (5, 4), 7: (2, 1)}
_SIDES: Final = ((9, 1), (13, 1), (18, 1), (30, 1))
_PREVIEW_EIGHTHS: Final = ((0, 16), (0, 32), (5, 1), (9, 33))
_PREVIEW_SIDES: Final = ((6, 1), (8, 65), (10, 321), (12, 1345))
"""The four distributions of a U32: (bits, offset)."""
_CHANNELS: Final = {"L": 1, "LA": 2, "RGB": 3, "RGBA": 4, "I;16": 1, "F": 1, "F;16": 1}


def open_bytes(data: bytes) -> ImageFile.ImageFile:
    """Open without decoding: mode and profile are right once it is loaded. Raises ImageError `many_frames`."""
    return JxlImage(io.BytesIO(data))


class JxlImage(LazyImage):
    format = "JXL"

    def _open(self) -> None:
        assert self.fp is not None
        self._codestream = codestream(self.fp.read())
        width, height, animated = _header(self._codestream)
        if animated:
            raise ImageError("many_frames", "an animated JPEG XL, whose frames cannot be read one by one: convert it")
        self._size, self._mode = (width, height), "RGB"

    def pixels(self, frame: int) -> NDArray[Any]:
        _, info, data, icc, _ = pillow_jxl.Decoder(num_threads=0)(self._codestream)
        if info.mode not in _CHANNELS:
            raise ImageError("unsupported_mode", f"expected grey or RGB, got a JPEG XL of mode {info.mode}")
        shape = (info.height, info.width, _CHANNELS[info.mode])
        wide = len(data) // (shape[0] * shape[1] * shape[2])  # bytes a sample: grey with alpha may have 16 bits
        kinds: dict[int, Any] = {1: np.uint8, 2: np.float16 if info.mode == "F;16" else np.uint16, 4: np.float32}
        values = np.frombuffer(data, kinds[wide]).reshape(shape)
        if info.mode == "LA" and wide == 2:
            values = ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)
        if wide == 2 and info.mode == "F;16":
            values = values.astype(np.float32)
        self.info["icc_profile"] = bytes(icc or b"")
        return values[..., 0] if shape[2] == 1 else values


def codestream(data: bytes) -> bytes:
    """Return the coded picture without its container."""
    if data[:2] == b"\xff\x0a":
        return data
    parts: list[tuple[int, bytes]] = []
    for kind, body in _boxes(data):
        if kind == b"jxlc":
            return body
        if kind == b"jxlp":
            parts.append((int.from_bytes(body[:4], "big") & 0x7FFFFFFF, body[4:]))
    if not parts or [number for number, _ in parts] != list(range(len(parts))):
        raise ImageError("undecodable", "expected a JPEG XL codestream, in one box or in numbered parts")
    return b"".join(part for _, part in parts)


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    for kind, body, missing in iso_boxes(data):
        if missing:
            raise ImageError("truncated", f"box {kind!r} lacks {missing} bytes of its size")
        yield kind, body


class _Bits:
    """Reads a codestream's header, lowest bit first."""

    def __init__(self, data: bytes) -> None:
        self._value, self._left = int.from_bytes(data[:64], "little"), 8 * len(data[:64])

    def __call__(self, count: int) -> int:
        if count > self._left:
            raise ImageError("truncated", "expected a JPEG XL header, the codestream ends before")
        value = self._value & ((1 << count) - 1)
        self._value, self._left = self._value >> count, self._left - count
        return value

    def u32(self, choices: tuple[tuple[int, int], ...]) -> int:
        bits, offset = choices[self(2)]
        return self(bits) + offset


def _header(data: bytes) -> tuple[int, int, bool]:
    """Width and height of the upright picture, and whether it is an animation (ISO 18181-1, annex D)."""
    bits = _Bits(data[2:])
    width, height = _size(bits)
    if bits(1) or not bits(1):  # all defaults, or no extra fields
        return width, height, False
    if bits(3) >= 4:  # orientation - 1
        width, height = height, width
    if bits(1):
        _size(bits)  # the intrinsic one, which viewers may scale to
    if bits(1):
        _preview(bits)
    return width, height, bool(bits(1))


def _size(bits: _Bits) -> tuple[int, int]:
    small = bits(1)
    height = 8 * (bits(5) + 1) if small else bits.u32(_SIDES)
    if ratio := bits(3):
        over, under = _RATIOS[ratio]
        return height * over // under, height
    return (8 * (bits(5) + 1) if small else bits.u32(_SIDES)), height


def _preview(bits: _Bits) -> None:
    eighths = bits(1)
    choices = _PREVIEW_EIGHTHS if eighths else _PREVIEW_SIDES
    bits.u32(choices)
    if not bits(3):
        bits.u32(choices)
