"""Find JPEGs whose header declares another size than their compressed data has (ITU T.81).

Decoders do not report this. A size that is too small hides a part of the picture from viewers and detectors, but not
from a person who corrects the header; a size that is too large adds grey. `ScanStream` finds both at no cost: it feeds
the scan to libjpeg in pieces, and libjpeg stops reading when its last row is complete. For a sound file that is within
the last bytes of the scan, or a few bytes behind it, where zeros are inserted; no pixel of a sound file uses them.

This works for files with one scan. Of files with several, libjpeg reads every scan to its end. `hides` finds those with
a hidden part, at the cost of two or more decodes at an eighth of the size: of a sequential file whose first scan holds
one component it reads that scan alone, as a grey picture; of the others (progressive ones) it changes the last bytes
and looks for a change. Bytes of one kind, 00 or FF, that fill up a scan are padding: devices write their buffers whole,
and no picture but a flat one could hide in them.
"""

from __future__ import annotations

import io
import itertools
import re
import warnings
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
    """Entropy-coded bytes. sequential: of a frame that is not progressive. components: of the frame. listed: of them in
    this scan. frame, header: positions of the markers SOF and SOS."""

    start: int
    stop: int
    sequential: bool
    components: int
    listed: int
    frame: int
    header: int

    @property
    def only(self) -> bool:
        """Whether it is the one scan of a sequential JPEG."""
        return self.sequential and self.listed == self.components

    def filled(self, data: bytes) -> int:
        """Position behind the last byte that is not padding."""
        last = data[self.stop - 1 : self.stop]
        return self.start + len(data[self.start : self.stop].rstrip(last)) if last in (b"\0", b"\xff") else self.stop


class ScanStream(io.BytesIO):
    """The bytes of a JPEG as a file that records how much of its scan was read."""

    def __init__(self, data: bytes) -> None:
        found = _first_scan(data)
        only = found if found and found.only else None
        super().__init__(data[: only.stop] + _AHEAD + data[only.stop :] if only else data)
        self._bounds: tuple[int, ...] = (
            (max(only.start, only.filled(data) - _TOLERATED), only.stop + len(_AHEAD)) if only else ()
        )

    def read(self, size: int | None = -1, /) -> bytes:
        """Read at most to the next bound, so that `tell` shows between which bounds the decoder stopped."""
        at = self.tell()
        ends = [bound - at for bound in self._bounds if bound > at]
        if ends and (size is None or size < 0 or size > ends[0]):
            size = ends[0]
        return super().read(size)

    @property
    def unread(self) -> bool:
        """Whether more was compressed than was read, once every pixel is decoded."""
        return bool(self._bounds) and self.tell() <= self._bounds[0]

    def check(self, shown: str) -> None:
        """Check where reading stopped, after every pixel was decoded. Raises ImageError `size_mismatch`. shown: the
        declared size."""
        if self.unread or (self._bounds and self.tell() > self._bounds[1]):
            more = "more" if self.unread else "fewer"
            raise ImageError("size_mismatch", f"the header says {shown}, but {more} pixels were compressed")


def hides(data: bytes) -> bool:
    """Whether the first of several scans goes on behind the last block of the picture.

    Of a progressive file: no change of its last bytes changes a pixel. A scan that cannot be read alone counts, too.
    """
    scan = _first_scan(data)
    if scan is None or scan.only:
        return False
    if scan.sequential and scan.listed == 1:
        stream = ScanStream(_alone(data, scan))
        return not _small(stream) or stream.unread
    stop = scan.filled(data)
    if stop - scan.start <= _TOLERATED or len(set(data[stop - _TOLERATED : stop])) < 3:
        return False  # of one colour: other codes may mean the same
    shown = _small(io.BytesIO(data))
    return all(_small(io.BytesIO(_changed_tail(data, stop, mask))) == shown for mask in _MASKS)


def _alone(data: bytes, scan: _Scan) -> bytes:
    """Make a grey JPEG of a scan of one component: its own samples are all that such a scan holds."""
    frame = data[scan.frame : scan.frame + 10 + 3 * scan.components]
    parts = {frame[at]: frame[at : at + 3] for at in range(10, len(frame), 3)}
    part = parts.get(data[scan.header + 5], bytes(3))
    across, down = (max((one[1] >> shift) & 15 for one in parts.values()) or 1 for shift in (4, 0))
    height, width = int.from_bytes(frame[5:7], "big"), int.from_bytes(frame[7:9], "big")
    high, wide = -(-height * (part[1] & 15) // down), -(-width * (part[1] >> 4) // across)
    grey = frame[:2] + b"\0\x0b" + frame[4:5] + high.to_bytes(2, "big") + wide.to_bytes(2, "big") + b"\1"
    rest = data[scan.frame + 2 + int.from_bytes(frame[2:4], "big") : scan.stop]
    return data[: scan.frame] + grey + part[:1] + b"\x11" + part[2:] + rest + b"\xff\xd9"


_MASKS: Final = (0x55, 0xAA, 0x3C)


def _changed_tail(data: bytes, stop: int, mask: int) -> bytes:
    """Change the last bytes of a scan by a mask, without making or breaking a marker."""
    tail = bytearray(data[stop - _TOLERATED : stop])
    for at, (before, byte) in enumerate(itertools.pairwise(data[stop - _TOLERATED - 1 : stop])):
        if 0xFF not in (before, byte, byte ^ mask):
            tail[at] = byte ^ mask
    return data[: stop - _TOLERATED] + bytes(tail) + data[stop:]


def _small(stream: io.BytesIO) -> bytes:
    """Decode at an eighth of the size; empty when that fails, with whatever Pillow's parsers raise."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(stream, formats=("JPEG",)) as image:
                image.draft(None, (1, 1))
                return image.tobytes()
    except Exception:
        return b""


def _first_scan(data: bytes) -> _Scan | None:
    """Find the first scan; None where there is none, or where its height follows in a DNL marker."""
    at, frame = 2, 0
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
            return _Scan(
                start=start,
                stop=found.start(),
                sequential=data[frame + 1] in _SEQUENTIAL,
                components=data[frame + 9],
                listed=data[at + 4],
                frame=frame,
                header=at,
            )
        if 0xC0 <= code <= 0xCF and code not in _NO_FRAME:
            frame = at
        at = start
    return None
