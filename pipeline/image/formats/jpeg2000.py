"""Open JPEG 2000 (ISO 15444-1), as a codestream or in a JP2 file.

Pillow decodes it, but two things it does not: it ignores a colour profile, and colours of more than 8 bits lose their
white, because it rounds without a limit (Pillow 13: 4095 of 12 bits becomes 0). Those come from OpenCV, after Pillow
has decoded every pixel: OpenCV makes an image of a truncated file.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile

from pipeline.errors import ImageError
from pipeline.image.boxes import iso_boxes
from pipeline.image.formats.lazy import LazyImage

_BY_TABLE, _BY_PROFILES = 1, (2, 3)
_GREY_MODE = "I;16"


def open_bytes(data: bytes) -> ImageFile.ImageFile:
    """Open without decoding. Raises ImageError `unsupported_mode` for signed colours of more than 8 bits."""
    image = Image.open(io.BytesIO(data), formats=("JPEG2000",))
    boxes = dict(_boxes(data)) if data[:4] != b"\xff\x4f\xff\x51" else {b"jp2c": data}
    depths = _depths(boxes.get(b"jp2c", b""))
    bits = max((depth & 0x7F) + 1 for depth in depths)
    if bits > 8 and not (image.mode == _GREY_MODE and bits <= 16):
        if bits > 16 or any(depth & 0x80 for depth in depths) or image.mode not in ("L", "LA", "RGB", "RGBA"):
            raise ImageError("unsupported_mode", f"expected unsigned colours of at most 16 bits, got {bits} bits")
        image = _Deep(io.BytesIO(data))
        image.bits = bits
    if icc := _profile(boxes.get(b"jp2h", b"")):
        image.info["icc_profile"] = icc
    return image


class _Deep(LazyImage):
    """Colours of 9 to 16 bits, scaled to 8."""

    format = "JPEG2000"
    bits = 16

    def _open(self) -> None:
        assert self.fp is not None
        self._whole = Image.open(self.fp, formats=("JPEG2000",))
        self._size, self._mode = self._whole.size, self._whole.mode

    def pixels(self, frame: int) -> NDArray[Any]:
        assert self.fp is not None
        self._whole.load()
        self.fp.seek(0)
        before = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
        try:
            values = cv2.imdecode(np.frombuffer(self.fp.read(), np.uint8), cv2.IMREAD_UNCHANGED)
        finally:
            cv2.utils.logging.setLogLevel(before)
        channels = len(self._whole.getbands())
        if values is None or values.dtype != np.uint16 or values.size != channels * self.size[0] * self.size[1]:
            raise ImageError("unsupported_mode", f"expected {channels} channels of {self.bits} bits that OpenCV reads")
        if channels >= 3:
            values = cv2.cvtColor(values, cv2.COLOR_BGR2RGB if channels == 3 else cv2.COLOR_BGRA2RGBA)
        top = (1 << self.bits) - 1
        return np.asarray((values.astype(np.uint32) * 255 + top // 2) // top, np.uint8)


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield (type, body) of the boxes in `data`, the last one as far as it goes."""
    return ((kind, body) for kind, body, _ in iso_boxes(data))


def _depths(codestream: bytes) -> bytes:
    """Ssiz of each component: its bits - 1, and 0x80 when it is signed."""
    (count,) = struct.unpack_from(">H", codestream, 40)  # SOC, then SIZ, as the standard demands
    depths = codestream[42 : 42 + 3 * count : 3]
    if codestream[2:4] != b"\xff\x51" or not depths or len(depths) < count:
        raise ImageError("undecodable", "expected a JPEG 2000 codestream that begins with its size")
    return depths


def _profile(header: bytes) -> bytes:
    """The ICC profile of a JP2 header; empty when it has none."""
    return next((body[3:] for kind, body in _boxes(header) if kind == b"colr" and body[:1] in (b"\2", b"\3")), b"")
