"""Find JPEGs whose header declares another size than their compressed data has (ITU T.81).

Decoders do not report this. A size that is too small hides a part of the picture from viewers and detectors, but not
from a person who corrects the header; a size that is too large adds grey. `ScanStream` finds both at no cost: it feeds
the scan to libjpeg in pieces, and libjpeg stops reading when its last row is complete. For a sound file that is within
the last bytes of the scan, or a few bytes behind it, where zeros are inserted; no pixel of a sound file uses them.

This works for files with one scan. Of files with several (progressive ones) libjpeg reads every scan to its end;
`hides` finds those with a hidden part, at the cost of two more decodes at an eighth of the size.
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
"""Bytes of padding that a writer may leave behind the last block: too few to hide a part of a picture."""
_AHEAD: Final = bytes(16)
"""Zeros behind the scan: libjpeg fills a buffer of 64 bits before it decodes."""


@dataclass(frozen=True)
class _Scan:
    """Entropy-coded bytes. only: they are the one scan of a sequential JPEG."""

    start: int
    stop: int
    only: bool


class ScanStream(io.BytesIO):
    """The bytes of a JPEG as a file that records how much of its scan was read."""

    def __init__(self, data: bytes) -> None:
        found = _first_scan(data)
        only = found if found and found.only else None
        super().__init__(data[: only.stop] + _AHEAD + data[only.stop :] if only else data)
        self._bounds = (max(only.start, only.stop - _TOLERATED), only.stop + len(_AHEAD)) if only else ()

    def read(self, size: int | None = -1, /) -> bytes:
        """Read at most to the next bound, so that `tell` shows between which bounds the decoder stopped."""
        at = self.tell()
        ends = [bound - at for bound in self._bounds if bound > at]
        if ends and (size is None or size < 0 or size > ends[0]):
            size = ends[0]
        return super().read(size)

    def check(self, shown: str) -> None:
        """Check where reading stopped, after every pixel was decoded. Raises ImageError `size_mismatch`. shown: the
        declared size."""
        if self._bounds and not self._bounds[0] < self.tell() <= self._bounds[1]:
            more = "more" if self.tell() <= self._bounds[0] else "fewer"
            raise ImageError("size_mismatch", f"the header says {shown}, but {more} pixels were compressed")


def hides(data: bytes) -> bool:
    """Whether the first of several scans goes on behind the last block of the picture: if so, no change of its last
    bytes changes a pixel."""
    scan = _first_scan(data)
    if scan is None or scan.only or scan.stop - scan.start <= _TOLERATED:
        return False
    if len(set(data[scan.stop - _TOLERATED : scan.stop])) < 3:  # of one colour: other codes may mean the same
        return False
    shown = _small(data)
    return all(_small(_changed_tail(data, scan.stop, mask)) == shown for mask in _MASKS)


_MASKS: Final = (0x55, 0xAA, 0x3C)


def _changed_tail(data: bytes, stop: int, mask: int) -> bytes:
    """Change the last bytes of a scan by a mask, without making or breaking a marker."""
    tail = bytearray(data[stop - _TOLERATED : stop])
    for at, (before, byte) in enumerate(itertools.pairwise(data[stop - _TOLERATED - 1 : stop])):
        if 0xFF not in (before, byte, byte ^ mask):
            tail[at] = byte ^ mask
    return data[: stop - _TOLERATED] + bytes(tail) + data[stop:]


def _small(data: bytes) -> bytes:
    """Decode at an eighth of the size; empty when that fails."""
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG",)) as image:
            image.draft(None, (1, 1))
            return image.tobytes()
    except (OSError, SyntaxError, ValueError):
        return b""


def _first_scan(data: bytes) -> _Scan | None:
    """Find the first scan; None where there is none, or where its height follows in a DNL marker."""
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
