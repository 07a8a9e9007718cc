"""What could still be seen in what was published? Another detector and a metadata scan over the rendered images.

Reads the published bytes only, as any reader would: every file under `rendered/`, every tar member and Parquet cell in
them. It takes no word of the run's own tables for it.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Final, Protocol

import cv2
import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import TiffImagePlugin

from pipeline.decode import Decoder
from pipeline.errors import ImageError, RunError
from pipeline.formats import IMAGE_SUFFIXES, open_image, read_header
from pipeline.records import EncodedImage, ImageRef, Rgb
from pipeline.store import Store
from pipeline.strip import strip

SIZES: Final = (32, 64, 128)
"""Bounds of the size buckets: the longer side of a found box in pixels of the published image."""

ENLARGED_UP_TO: Final = 1600
"""Images whose longer side has at most this many pixels are also searched at twice their size, for small faces."""

MARKERS: Final = {
    "Exif": (b"Exif\0\0", b"eXIf", b"EXIF"),
    "XMP": (b"ns.adobe.com/xap", b"<x:xmpmeta", b"W5M0MpCehiHzreSzNTczkc9d"),
    "IPTC": (b"Photoshop 3.0\x008BIM",),
    "text": (b"tEXt", b"zTXt", b"iTXt"),
}
"""Names for what strip removes; bytes of compressed pixels can look like one, so only what is removed is searched."""


class Detector(Protocol):
    def detect(self, rgb: Rgb) -> NDArray[np.float32]:
        """(n, 5): left, top, right, bottom, score."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A face that is still found, or metadata that is still there. side, score: of a face; else 0."""

    image: str
    what: str
    side: int = 0
    score: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Receipt:
    """published: images under `rendered/`. audited: those that were looked at. unreadable: those that could not be.

    faces: one a detection, the surest first. metadata: one an image.
    """

    published: int
    audited: int
    score: float
    faces: tuple[Finding, ...]
    metadata: tuple[Finding, ...]
    unreadable: tuple[Finding, ...]

    @property
    def share(self) -> float:
        """Of the audited images, those with a face."""
        return len({face.image for face in self.faces}) / self.audited

    @property
    def bound(self) -> float:
        """With 95 % confidence no more than this share of the run's images still shows this detector a face.

        Rule of three when none was found (Hanley and Lippman-Hand 1983), else Hoeffding's bound, which is never below
        the truth but wide. It says nothing about faces that this detector cannot see.
        """
        slack = 3 / self.audited if not self.faces else float(np.sqrt(np.log(20) / (2 * self.audited)))
        return min(1.0, self.share + slack)

    def sizes(self) -> dict[str, int]:
        """Detections by size bucket."""
        names = [*(f"< {size} px" for size in SIZES), f">= {SIZES[-1]} px"]
        counts = Counter(names[int(np.searchsorted(SIZES, face.side, side="right"))] for face in self.faces)
        return {name: counts[name] for name in names}

    def passes(self, max_residual: float) -> bool:
        """Nothing was unreadable, no metadata, and at most this share of the images has a face."""
        return not self.unreadable and not self.metadata and self.share <= max_residual

    def text(self) -> str:
        images = len({face.image for face in self.faces})
        rows = [
            ("published", f"{self.published} images, {self.audited} looked at"),
            (
                "faces",
                f"{len(self.faces)} in {images} images (score from {self.score:g}); at most {self.bound:.2%} (95 %)",
            ),
            *((f"  {size}", str(count)) for size, count in self.sizes().items()),
            ("metadata", f"{len(self.metadata)} images"),
            ("unreadable", f"{len(self.unreadable)} images"),
            *(("", f"{f.image}: {f.what}") for f in (*self.faces[:5], *self.metadata[:5], *self.unreadable[:5])),
        ]
        return "\n".join(f"{name:<12} {value}".rstrip() for name, value in rows)

    def json(self) -> bytes:
        facts = {**asdict(self), "share": self.share, "bound": self.bound, "sizes": self.sizes()}
        return (json.dumps(facts, indent=1) + "\n").encode()


def audit(store: Store, detector: Detector, decoder: Decoder, *, sample: int, score: float) -> Receipt:
    """sample: how many images to look at, chosen by a hash of their names; 0: all. score: from which on a detection
    counts. Raises RunError when nothing is published."""
    names = sorted((name for name, _ in published(store)), key=lambda name: hashlib.sha256(name.encode()).digest())
    if not names:
        raise RunError(
            f"{store.join('rendered')}: no images to audit; was it made with sink=none, or is it another run?"
        )
    chosen = set(names[:sample] if sample else names)
    faces: list[Finding] = []
    metadata: list[Finding] = []
    unreadable: list[Finding] = []
    for name, data in published(store):
        if name not in chosen:
            continue
        try:
            if found := metadata_in(data):
                metadata.append(Finding(image=name, what=found))
            ref = ImageRef(image_id=name, key=name, member=name)
            faces += faces_in(name, decoder.full(EncodedImage(ref=ref, data=data)).rgb, detector, score)
        except ImageError as error:
            unreadable.append(Finding(image=name, what=f"{error.reason}: {error.detail}"))
    return Receipt(
        published=len(names),
        audited=len(chosen),
        score=score,
        faces=tuple(sorted(faces, key=lambda face: -face.score)),
        metadata=tuple(metadata),
        unreadable=tuple(unreadable),
    )


def published(store: Store) -> Iterator[tuple[str, bytes]]:
    """Name and bytes of every image under `rendered/`."""
    for entry in store.list("rendered"):
        if entry.path.endswith(".tar"):
            with tarfile.open(fileobj=io.BytesIO(store.read(entry.path))) as tar:
                for member in tar:
                    stream = tar.extractfile(member)
                    if stream and _is_image(member.name):
                        yield f"{entry.path}!{member.name}", stream.read()
        elif entry.path.endswith(".parquet"):
            for number, row in enumerate(pq.read_table(io.BytesIO(store.read(entry.path))).to_pylist()):
                yield from _cells(f"{entry.path}!{number}", row)
        elif _is_image(entry.path):
            yield entry.path, store.read(entry.path)


def _cells(name: str, row: object) -> Iterator[tuple[str, bytes]]:
    if isinstance(row, dict):
        for key, value in row.items():
            yield from _cells(f"{name}.{key}", value)
    elif isinstance(row, bytes):
        yield name, row


def _is_image(path: str) -> bool:
    return any(path.lower().endswith(suffix) for suffix in IMAGE_SUFFIXES)


def metadata_in(data: bytes) -> str:
    """What stripping would still take out of a published image; empty when it is nothing. Raises ImageError."""
    header = read_header(data)
    if header.orientation != 1:
        return f"an orientation ({header.orientation})"
    kept = strip(data, header, keep_icc=True)
    if kept == data or (header.format == "TIFF" and len(kept) >= len(data) and _tags(kept) == _tags(data)):
        return ""  # of a TIFF the same values may be laid out anew
    named = [name for name, marks in MARKERS.items() if any(data.count(mark) > kept.count(mark) for mark in marks)]
    return f"{', '.join(named) or 'other bytes'} ({len(data) - len(kept)} bytes)"


def _tags(data: bytes) -> set[int]:
    image = open_image(data)
    return set(image.tag_v2) if isinstance(image, TiffImagePlugin.TiffImageFile) else set()


def faces_in(name: str, rgb: Rgb, detector: Detector, score: float) -> Iterator[Finding]:
    """At its own size, and at twice that. The same face may be found in both: then the surer one counts."""
    found: list[Sequence[float]] = list(detector.detect(rgb).tolist())
    if max(rgb.shape) <= ENLARGED_UP_TO:
        large = np.asarray(cv2.resize(rgb, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC), np.uint8)
        found += (detector.detect(large) * np.array([0.5, 0.5, 0.5, 0.5, 1], np.float32)).tolist()
    kept: list[tuple[float, float]] = []
    for left, top, right, bottom, sure in sorted(found, key=lambda box: -box[4]):
        centre = ((left + right) / 2, (top + bottom) / 2)
        side = max(right - left, bottom - top)
        if sure < score or any(np.hypot(centre[0] - x, centre[1] - y) < side / 2 for x, y in kept):
            continue
        kept.append(centre)
        where = f"a face of {side:.0f} px at {centre[0]:.0f}, {centre[1]:.0f} (score {sure:.3f})"
        yield Finding(image=name, what=where, side=round(side), score=sure)
