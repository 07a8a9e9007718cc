"""Does the compressed data of a JPEG fill the size that its header says? (ITU T.81)

Decoders do not tell. What a header leaves out of the picture nobody sees, no detector either, but who mends the header
does; what it adds is shown grey. Both come to light here at no cost: libjpeg is fed the scan in pieces, and it stops to
read when its last line is complete. In a sound file that is within the last bytes of the scan, or a few bytes behind,
where some zeros are put for it; no pixel of a sound file is made of them.

Only files with one scan are judged: the others (progressive ones) are read to their end in any case.
"""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from typing import Final

from pipeline.errors import ImageError

_MARKER_IN_SCAN: Final = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")  # not stuffing, not a restart, not a fill byte
_SEQUENTIAL: Final = (0xC0, 0xC1)
_SOS, _DNL = 0xDA, 0xDC
_TOLERATED: Final = 32
"""Bytes of padding that a writer may leave behind the last block; nothing to be seen fits into them."""
_AHEAD: Final = bytes(16)
"""libjpeg fills a buffer of 64 bits before it decodes what it has."""


@dataclass(frozen=True)
class _Scan:
    start: int
    stop: int


class ScanStream(io.BytesIO):
    """The bytes of a JPEG as a file, which afterwards knows how much of its scan was needed."""

    def __init__(self, data: bytes) -> None:
        found = _only_scan(data)
        super().__init__(data[: found.stop] + _AHEAD + data[found.stop :] if found else data)
        self._bounds = (max(found.start, found.stop - _TOLERATED), found.stop + len(_AHEAD)) if found else ()

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


def _only_scan(data: bytes) -> _Scan | None:
    """The entropy-coded bytes of a sequential JPEG with a single scan; None for any other."""
    at, frame = 2, 0
    while 0 <= (at := data.find(b"\xff", at)) < len(data) - 10:
        code = data[at + 1]
        if code == 0xFF:
            at += 1
            continue
        start = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        if code in _SEQUENTIAL:
            frame = data[at + 9]
        elif code == _SOS:
            found = _MARKER_IN_SCAN.search(data, start)
            whole = found and data[found.start() + 1] != _DNL and data[at + 4] == frame
            return _Scan(start, found.start()) if found and whole else None
        elif 0xC0 <= code <= 0xCF and code not in (0xC4, 0xC8, 0xCC):
            return None
        at = start
    return None
