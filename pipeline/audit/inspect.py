"""Searches published images for faces, with another detector than the run's own, and for metadata."""

from __future__ import annotations

import heapq
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, Protocol

import cv2
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import TiffImagePlugin

from pipeline import life
from pipeline.audit.published import choose, contents
from pipeline.audit.receipt import AuditLimits, Finding, Receipt
from pipeline.errors import ImageError, RunError, one_line
from pipeline.image.decode import Decoder
from pipeline.image.header import open_image, read_header
from pipeline.image.strip import strip
from pipeline.records import EncodedImage, ImageRef, Rgb
from pipeline.storage.store import Store

ENLARGED_UP_TO: Final = 1024
"""Longer side in pixels up to which images are also searched at twice their size, for small faces."""

SEARCHED: Final = 1600
"""Longer side in pixels to which larger images are shrunk for the search."""

CROPS: Final = 24
"""Maximum number of faces on the contact sheet, the largest first."""

MARKERS: Final[Mapping[str, tuple[bytes, ...]]] = {
    "Exif": (b"Exif\0\0", b"eXIf", b"EXIF"),
    "XMP": (b"ns.adobe.com/xap", b"<x:xmpmeta", b"W5M0MpCehiHzreSzNTczkc9d"),
    "IPTC": (b"Photoshop 3.0\x008BIM",),
    "text": (b"tEXt", b"zTXt", b"iTXt"),
}
"""Marks of metadata. Compressed pixels can contain the same bytes, so only bytes that strip removes are counted."""


class Detector(Protocol):
    def detect(self, rgb: Rgb) -> NDArray[np.float32]:
        """Find faces: (n, 5) of left, top, right, bottom in pixels, and score. rgb: HWC uint8."""


class LargestFaces:
    """Keeps crops of the largest remaining faces, with a margin."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, Finding, Rgb]] = []
        self._count = 0

    def add(self, face: Finding, rgb: Rgb) -> None:
        margin = max(8, face.side // 2)
        left, top = (max(0, middle - face.side // 2 - margin) for middle in (face.x, face.y))
        crop = rgb[top : face.y + face.side // 2 + margin, left : face.x + face.side // 2 + margin]
        self._count += 1
        push = heapq.heappush if len(self._heap) < CROPS else heapq.heappushpop
        push(self._heap, (face.side, -self._count, face, crop.copy()))

    def crops(self) -> Iterator[tuple[Finding, Rgb]]:
        for _, _, face, crop in sorted(self._heap, key=lambda entry: (-entry[0], -entry[1])):
            yield face, crop


def audit(store: Store, detector: Detector, decoder: Decoder, limits: AuditLimits, largest: LargestFaces) -> Receipt:
    """Inspect a sample of the published images, one in memory at a time.

    largest: collects the largest faces that are found. Raises RunError for a damaged tar or Parquet file.
    """
    chosen = choose(store, limits.sample)
    faces: list[Finding] = []
    small: list[Finding] = []
    metadata: list[Finding] = []
    unreadable: list[Finding] = []
    try:
        for number, (name, data) in enumerate(contents(store, chosen.names), 1):
            life.phase(f"auditing {number:,} of {len(chosen.names):,} published images")
            try:
                if found := metadata_in(data):
                    metadata.append(Finding(image=name, what=found))
                ref = ImageRef(image_id=name, key=name, member=name)
                rgb = decoder.full(EncodedImage(ref=ref, data=data)).rgb
                for face in faces_in(name, rgb, detector, limits.score):
                    (faces if face.side >= limits.min_face_px else small).append(face)
                    largest.add(face, rgb)
            except ImageError as error:
                unreadable.append(Finding(image=name, what=f"{error.reason}: {error.detail}"))
    except (tarfile.TarError, pa.ArrowException) as error:
        raise RunError(
            f"{store.join('rendered')}: cannot be audited: {one_line(error)}; segfill verify names the fault"
        ) from error
    return Receipt(
        published=chosen.count,
        containers=chosen.containers,
        opened=chosen.opened,
        audited=len(chosen.names),
        limits=limits,
        faces=_surest(faces),
        small=_surest(small),
        metadata=tuple(metadata),
        unreadable=tuple(unreadable),
    )


def _surest(faces: Iterable[Finding]) -> tuple[Finding, ...]:
    return tuple(sorted(faces, key=lambda face: -face.score))


def metadata_in(data: bytes) -> str:
    """Return the metadata that stripping would still remove from a published image, or "". Raises ImageError."""
    header = read_header(data)
    if header.orientation != 1:
        return f"an orientation ({header.orientation})"
    kept = strip(data, header, keep_icc=True)
    if kept == data or (header.format == "TIFF" and len(kept) >= len(data) and _tags(kept) == _tags(data)):
        return ""  # strip may lay out the same values of a TIFF anew
    named = [name for name, marks in MARKERS.items() if any(data.count(mark) > kept.count(mark) for mark in marks)]
    return f"{', '.join(named) or 'other bytes'} ({len(data) - len(kept)} bytes)"


def _tags(data: bytes) -> set[int]:
    image = open_image(data)
    return set(image.tag_v2) if isinstance(image, TiffImagePlugin.TiffImageFile) else set()


def boxes_in(rgb: Rgb, detector: Detector, score: float) -> list[tuple[float, float, float, float, float]]:
    """Return boxes (left, top, right, bottom in pixels of `rgb`, score) with at least this score, the highest first.

    Searches the image at its own size (at most SEARCHED), and a small one also at twice that. The detector itself
    searches several scales. Of two boxes of one face the one with the higher score is kept.
    """
    longer = max(rgb.shape[:2])
    scales = [min(1.0, SEARCHED / longer), *([2.0] if longer <= ENLARGED_UP_TO else [])]
    found: list[list[float]] = []
    for scale in scales:
        how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        tile = rgb if scale == 1 else np.asarray(cv2.resize(rgb, None, fx=scale, fy=scale, interpolation=how), np.uint8)
        found += (detector.detect(tile) / np.array([scale, scale, scale, scale, 1], np.float32)).tolist()
    kept: list[tuple[float, float, float, float, float]] = []
    for left, top, right, bottom, sure in sorted(found, key=lambda box: -box[4]):
        half = max(right - left, bottom - top) / 2
        middles = (((box[0] + box[2] - left - right) / 2, (box[1] + box[3] - top - bottom) / 2) for box in kept)
        if sure >= score and all(np.hypot(*apart) >= half for apart in middles):
            kept.append((left, top, right, bottom, sure))
    return kept


def faces_in(name: str, rgb: Rgb, detector: Detector, score: float) -> Iterator[Finding]:
    """Yield a finding for each face with at least this score, the highest first."""
    for left, top, right, bottom, sure in boxes_in(rgb, detector, score):
        side, x, y = round(max(right - left, bottom - top)), round((left + right) / 2), round((top + bottom) / 2)
        where = f"a face of {side} px at {x}, {y} (score {sure:.3f})"
        yield Finding(image=name, what=where, side=side, score=sure, x=x, y=y)
