"""Does the compressed data of a JPEG fill the size that its header says? (ITU T.81)

Decoders do not tell. What a header leaves out of the picture nobody sees, no detector either, but who mends the header
does; what it adds is shown grey. Both come to light here at no cost: libjpeg is fed the scan in pieces, and it stops to
read when its last line is complete. In a sound file that is within the last bytes of the scan, or a few bytes behind,
where some zeros are put for it; no pixel of a sound file is made of them.

That judges files with one scan. The others (progressive ones) are read to their end in any case; whether they leave
something out is told by `hides`, for two more decodes at an eighth of the size.
"""

from __future__ import annotations

import io
import itertools
import re
from dataclasses import dataclass
from typing import Final

from PIL import Image

from pipeline.errors import ImageError

MARKER_IN_SCAN: Final = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")  # not stuffing, not a restart, not a fill byte
_SEQUENTIAL: Final = (0xC0, 0xC1)
_NO_FRAME: Final = (0xC4, 0xC8, 0xCC)  # DHT, JPG, DAC
_SOS, _DNL = 0xDA, 0xDC
_TOLERATED: Final = 32
"""Bytes of padding that a writer may leave behind the last block; nothing to be seen fits into them."""
_AHEAD: Final = bytes(16)
"""libjpeg fills a buffer of 64 bits before it decodes what it has."""


@dataclass(frozen=True)
class _Scan:
    start: int
    stop: int
    only: bool


class ScanStream(io.BytesIO):
    """The bytes of a JPEG as a file, which afterwards knows how much of its scan was needed."""

    def __init__(self, data: bytes) -> None:
        found = _first_scan(data)
        only = found if found and found.only else None
        super().__init__(data[: only.stop] + _AHEAD + data[only.stop :] if only else data)
        self._bounds = (max(only.start, only.stop - _TOLERATED), only.stop + len(_AHEAD)) if only else ()

    def read(self, size: int | None = -1, /) -> bytes:
        """Never across a bound."""
        at = self.tell()
        ends = [bound - at for bound in self._bounds if bound > at]
        if ends and (size is None or size < 0 or size > ends[0]):
            size = ends[0]
        return super().read(size)

    def check(self, shown: str) -> None:
        """After every pixel was read. Raises ImageError `size_mismatch`. shown: what the header says."""
        if self._bounds and not self._bounds[0] < self.tell() <= self._bounds[1]:
            more = "more" if self.tell() <= self._bounds[0] else "fewer"
            raise ImageError("size_mismatch", f"the header says {shown}, but {more} pixels were compressed")


def hides(data: bytes) -> bool:
    """Does the first scan of a JPEG of several scans go on behind the last block of the picture? Then other bytes at
    its end change no pixel, whatever they are."""
    scan = _first_scan(data)
    if scan is None or scan.only or scan.stop - scan.start <= _TOLERATED:
        return False
    if len(set(data[scan.stop - _TOLERATED : scan.stop])) < 3:  # of one colour; its codes may have no other meaning
        return False
    shown = _small(data)
    return all(_small(_changed_tail(data, scan.stop, mask)) == shown for mask in _MASKS)


_MASKS: Final = (0x55, 0xAA, 0x3C)


def _changed_tail(data: bytes, stop: int, mask: int) -> bytes:
    """No byte becomes or ceases to be part of a marker."""
    tail = bytearray(data[stop - _TOLERATED : stop])
    for at, (before, byte) in enumerate(itertools.pairwise(data[stop - _TOLERATED - 1 : stop])):
        if 0xFF not in (before, byte, byte ^ mask):
            tail[at] = byte ^ mask
    return data[: stop - _TOLERATED] + bytes(tail) + data[stop:]


def _small(data: bytes) -> bytes:
    """The pixels at an eighth of the size; nothing when they cannot be decoded."""
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG",)) as image:
            image.draft(None, (1, 1))
            return image.tobytes()
    except (OSError, SyntaxError, ValueError):
        return b""


def _first_scan(data: bytes) -> _Scan | None:
    """The entropy-coded bytes of the first scan, and whether it is the only one of a sequential JPEG."""
    at, frame, sequential = 2, 0, False
    while 0 <= (at := data.find(b"\xff", at)) < len(data) - 10:
        code = data[at + 1]
        if code == 0xFF:
            at += 1
            continue
        start = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        if code == _SOS:
            found = MARKER_IN_SCAN.search(data, start)
            if found is None or data[found.start() + 1] == _DNL:
                return None
            return _Scan(start, found.start(), sequential and data[at + 4] == frame)
        if 0xC0 <= code <= 0xCF and code not in _NO_FRAME:
            frame, sequential = data[at + 9], code in _SEQUENTIAL
        at = start
    return None
