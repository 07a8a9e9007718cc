"""The records that travel from stage to stage.

    plan     read           decode   segment     select     crop      fill     render     commit
    Shard -> EncodedImage -> Viewed -> Segmented -> Selected -> Cropped -> Filled -> Rendered -> Committed

Images are HWC uint8 RGB, 0..255; masks are HW bool, True = inside; boxes are XYWH floats in pixels, x to the right, y
down, (0, 0) the upper left corner of the image. Masks and boxes are those of the upright full-size image: the stored
one with its EXIF orientation applied. An image that fails becomes a `Rejected` in its place, so that a unit keeps its
length from decode to commit; before decode, the frames of a file may become images (`image/frames.py`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from hashlib import blake2b
from typing import Generic, Literal, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

Rgb: TypeAlias = NDArray[np.uint8]
"""(height, width, 3) uint8."""
Mask: TypeAlias = NDArray[np.bool_]
"""(height, width) bool, True = inside."""
Floats: TypeAlias = NDArray[np.float32]
"""Any shape, float32."""
Box: TypeAlias = tuple[float, float, float, float]
"""x, y, width, height in pixels."""
Device: TypeAlias = Literal["cpu", "cuda"]
Status: TypeAlias = Literal["written", "unchanged", "rejected"]
T = TypeVar("T")


def image_id(shard: str, member: str) -> str:
    """Hash an image's place to 32 hex digits that stay the same on every run, machine and mount. shard: relative to the
    source root."""
    return blake2b(f"{shard}\0{member}".encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()


def unit_id(shard: str, start: int) -> str:
    """Name a unit by stem and hash of its shard and by its start. Names sort in source order within a shard and are
    safe in a path."""
    stem = re.sub("[^A-Za-z0-9_-]", "-", shard.rsplit("/", 1)[-1].split(".")[0])
    digest = blake2b(shard.encode("utf-8", "surrogateescape"), digest_size=5).hexdigest()
    return f"{stem[:40] or 'shard'}-{digest}-{start:012d}"


def seed_of(image: str, index: int = 0) -> int:
    """Hash an image id and the index of a piece to a seed in 0..2**31-1, so that a retry draws the same numbers."""
    return int.from_bytes(blake2b(f"{image}\0{index}".encode(), digest_size=4).digest(), "big") >> 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Member:
    """One file of a folder listing. path: relative to the source root. size: bytes. etag: changes with the bytes.
    problem: reason code for which it cannot be read (`storage.ObjectInfo`), or empty. key: of its row, if not the usual
    one (`source.files`). sidecar: it travels with the image before it."""

    path: str
    size: int
    etag: str
    problem: str = ""
    key: str = ""
    sidecar: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Shard:
    """One object of the source, or a slice of a folder listing. path: relative to the source root, POSIX. uri: of the
    object; of a slice, the source root. size: bytes. etag: changes with the bytes. members: files of a slice, in order;
    empty for a tar or a Parquet file. problem: as of a `Member`."""

    path: str
    uri: str
    size: int
    etag: str
    members: tuple[Member, ...] = ()
    problem: str = ""
    keys: tuple[tuple[int, bytes], ...] = ()
    """Start of each committed unit and the hashes of its rows (`source.keys`), for a reader that skips the unit."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Unit:
    """A run of consecutive images of one shard: the piece that is scheduled, retried and committed. shard: its path.
    last: no unit of this shard follows. samples, several: of a tar, with at least one image, and with more than one.
    fields: field of their images (`left.jpg`) -> number of images, the most frequent ones first."""

    unit_id: str
    shard: str
    uri: str
    etag: str
    start: int
    """Position of the unit: byte of a tar header (of a packed tar, unpacked), row of a Parquet file, 0 for a slice."""
    stop: int  # position of the next unit; the number of members for a slice
    last: bool
    failure: str = ""
    """Reason code for which the rest of the shard cannot be read, or empty."""
    samples: int = 0
    several: int = 0
    fields: Mapping[str, int] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageRef:
    """Identity of an image, the same from read to the index. member: name in the shard; a row number for Parquet."""

    image_id: str
    key: str
    """A name for people, unique in its shard (loose files: in the run): mostly the member without its last suffix."""
    member: str
    sha256: str = ""
    """Hex, of the encoded bytes; empty if unread."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sidecar:
    """Data that travels with an image: a caption, a label, other columns."""

    name: str
    """What follows the first dot of its base name (`txt`, `seg.png`); "columns" for kind `columns`."""
    data: bytes
    """Bytes of the file; for kind `columns` an Arrow IPC stream of one row, the other columns of a Parquet row."""
    kind: Literal["file", "columns"] = "file"


@dataclass(frozen=True, kw_only=True, slots=True)
class EncodedImage:
    """An image as the source stores it. data: encoded bytes, not decoded and not trusted."""

    ref: ImageRef
    data: bytes
    sidecars: tuple[Sidecar, ...] = ()
    frame: int = 0
    """The picture of `data` that this image is, from 1, where `decode.frames` is all; 0: its only or main one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rejected:
    """Takes the place of an image that failed. stage: `read`, `decode`, ... reason: a stable code. detail: one line for
    a person. width, height: of the upright image, 0 when not known. preview: small JPEG
    for the report; empty in a private run and for what cannot be decoded."""

    ref: ImageRef
    stage: str
    reason: str
    detail: str
    width: int = 0
    height: int = 0
    preview: bytes = b""


@dataclass(frozen=True, kw_only=True, slots=True)
class Pixels:
    """A full-size decoded image, upright. rgb: HWC uint8, composited onto white where alpha is below 255. alpha: HW
    uint8, of shape (0, 0) for an opaque image."""

    rgb: Rgb
    alpha: NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True, slots=True)
class Tile:
    """One input of a model. pixels: HWC uint8 RGB. box: the part of the upright full-size image that they show."""

    pixels: Rgb
    box: Box


@dataclass(frozen=True, kw_only=True, slots=True)
class View:
    """One image fitted for one segmenter. height, width: of the upright full-size image. tiles: at least one."""

    image_id: str
    height: int
    width: int
    tiles: tuple[Tile, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageRecord:
    """Base of records that carry their source image."""

    image: EncodedImage

    @property
    def ref(self) -> ImageRef:
        return self.image.ref


@dataclass(frozen=True, kw_only=True, slots=True)
class Viewed(ImageRecord):
    """views: one for each segmenter of the flow, in its order."""

    views: tuple[View, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Segment:
    """One labelled mask. class_id: as in `Flow.classes`; of the model's own classes, from 0, until the segments of all
    models are united. score: 0..1. rle: COCO compressed counts of the upright full-size mask. area: pixels."""

    label: str
    class_id: int
    score: float
    rle: bytes
    box: Box
    area: int
    model: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Segments:
    """All segments of one image; may be empty. height, width: of the upright full-size image."""

    image_id: str
    height: int
    width: int
    segments: tuple[Segment, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Segmented(ImageRecord):
    segments: Segments


@dataclass(frozen=True, kw_only=True, slots=True)
class Region:
    """The pixels of one image that are to be filled. rle: as of a `Segment`. area: pixels, 0 = nothing to fill."""

    image_id: str
    height: int
    width: int
    rle: bytes
    area: int
    chosen: tuple[int, ...]
    """Positions of the selected segments in `Segments.segments`, ascending."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Selected(ImageRecord):
    segments: Segments
    region: Region


@dataclass(frozen=True, kw_only=True, slots=True)
class Crop:
    """The input of a fill: one connected part of the region, or a few close together, with context around it. x, y: its
    upper left pixel in the upright full-size image."""

    x: int
    y: int
    pixels: Rgb
    """HWC uint8 RGB, blanked inside the whole region unless the fill declares `reversible`."""
    mask: Mask
    """HW bool: the pixels that this crop has to fill."""
    known: Mask
    """HW bool: the pixels outside the whole region, which a fill may learn from."""
    seed: int
    """From the image id, 0..2**31-1."""
    labels: tuple[str, ...] = ()
    """Labels of the chosen segments whose box overlaps `mask`, that of the largest first."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Cropped(ImageRecord):
    """crops: empty when the region is empty or the flow fills nothing."""

    segments: Segments
    region: Region
    crops: tuple[Crop, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Patch:
    """A filled crop. x, y: as in `Crop`. pixels: HWC uint8 RGB; only those inside `mask` (HW bool) are pasted."""

    x: int
    y: int
    pixels: Rgb
    mask: Mask


@dataclass(frozen=True, kw_only=True, slots=True)
class Filled(ImageRecord):
    segments: Segments
    region: Region
    patches: tuple[Patch, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class RenderedFile:
    """One encoded image to publish. kind: `filled`, `overlay`, `cutout` or `labels`. suffix: with the dot, `.jpg`."""

    kind: str
    suffix: str
    data: bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class Preview:
    """Small JPEGs for the report. In a private run `before` has its region blanked: no original leaves the workers."""

    image_id: str
    before: bytes
    mask: bytes
    after: bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class Rendered:
    """An image ready for the sink. files: at most one of each kind. sidecars: those that are published with it."""

    ref: ImageRef
    status: Status
    segments: Segments
    region: Region
    seed: int
    files: tuple[RenderedFile, ...]
    sidecars: tuple[Sidecar, ...]
    previews: tuple[Preview, ...] = ()
    seam: float = 0.0
    """Visibility of the fill (`render.seam`): 1 looks like its surroundings; 0 when no filled image was made."""
    detail: str = ""
    """What else was done, for the index: the levels that were read as black and white, why a file was encoded anew."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Counts:
    """Images of a unit or a run. `images == written + unchanged + rejected`, always."""

    images: int = 0
    written: int = 0
    unchanged: int = 0
    rejected: int = 0

    def __post_init__(self) -> None:
        if self.images != self.written + self.unchanged + self.rejected:
            raise AssertionError(f"images are not conserved: {self}")

    def __add__(self, other: Counts) -> Counts:
        return Counts(**{f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self)})


@dataclass(frozen=True, kw_only=True, slots=True)
class OutputFile:
    """One object of a unit's output. path: relative to the output root. sha256: hex, of data."""

    path: str
    data: bytes = field(repr=False)
    sha256: str


@dataclass(frozen=True, kw_only=True, slots=True)
class FileEntry:
    """One object as a commit record lists it. size: bytes. etag: as the store reported it after the put, or empty."""

    path: str
    size: int
    sha256: str
    etag: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Committed:
    """The commit record of one unit, and all that the driver receives of it. bytes_in: encoded bytes of its images."""

    unit: Unit
    attempt: str
    counts: Counts
    files: tuple[FileEntry, ...]
    loose: tuple[FileEntry, ...]
    """Those of `sink=files`, under names of the source; until the run is finished, `staged` can restore them."""
    staged: tuple[FileEntry, ...]
    rejects: tuple[tuple[str, str, int], ...]
    """(stage, reason, count), sorted."""
    segments: tuple[tuple[str, int], ...]
    """(label, count), sorted."""
    seconds: Mapping[str, float]
    """Wall time of each stage."""
    bytes_in: int
    host: str


@dataclass(frozen=True, kw_only=True, slots=True)
class UnitBatch(Generic[T]):
    """The images of one unit at one stage. items: one for each image, in source order."""

    unit: Unit
    items: tuple[T | Rejected, ...]
    seconds: Mapping[str, float]
    """Wall time of each stage so far."""
    previews: int = 0
    """Number of images of the unit that may still get a preview in the report; set only where images are rendered."""
