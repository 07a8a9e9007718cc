"""What travels between stages.

Conventions, here and everywhere: images are HWC uint8 RGB, 0..255; masks are HW bool, True = inside; boxes are
XYWH floats in pixels of the upright full-size image (x to the right, y down, the corner of pixel 0,0 is 0,0).
"Upright" means with the EXIF orientation applied. An image record may be replaced by a `Rejected` at any stage; it then
stays in its place in the batch, so a unit keeps its length from read to commit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
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


def image_id(shard: str, member: str) -> str:
    """32 hex digits: the same on every run, machine and mount. `shard` is relative to the source root."""
    return blake2b(f"{shard}\0{member}".encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()


def seed_of(image: str, index: int = 0) -> int:
    """A seed in 0..2**31-1 for piece `index` of the image with this id: a replay draws the same numbers."""
    return int.from_bytes(blake2b(f"{image}\0{index}".encode(), digest_size=4).digest(), "big") >> 1


# --- what is planned -------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Member:
    """One file of a folder listing. path: relative to the source root; size in bytes; etag as the store tells it.
    problem: why it cannot be read, as the listing tells (see storage.ObjectInfo); empty for a file."""

    path: str
    size: int
    etag: str
    problem: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Shard:
    """One object of the source, or a slice of a folder listing.

    path: relative to the source root, POSIX. uri: where it is. size: bytes. etag: changes when the bytes change.
    members: the files of a folder slice, in order; empty for a tar or a Parquet file. problem: as of a Member.
    keys: start of each committed unit and the hashes of its keys (`source.keys`), for a reader that hops over it.
    """

    path: str
    uri: str
    size: int
    etag: str
    members: tuple[Member, ...] = ()
    problem: str = ""
    keys: tuple[tuple[int, bytes], ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Unit:
    """A run of consecutive images of one shard: what is scheduled, retried and committed.

    start, stop: the first position of this unit and of the next: byte offsets of tar headers (in the unpacked
    stream for .tar.gz), row numbers of a Parquet file, 0 and the count for a folder slice.
    last: no unit of this shard follows. failure: empty, or the reason code for which the rest of the shard could not
    be read.
    """

    unit_id: str
    shard: str
    uri: str
    etag: str
    start: int
    stop: int
    last: bool
    failure: str = ""


def unit_id(shard: str, start: int) -> str:
    """A name that sorts in source order within a shard and is safe in a path: stem, hash of the shard, position."""
    stem = "".join(
        c if c.isascii() and (c.isalnum() or c in "-_") else "-" for c in shard.rsplit("/", 1)[-1].split(".")[0]
    )
    digest = blake2b(shard.encode("utf-8", "surrogateescape"), digest_size=5).hexdigest()
    return f"{stem[:40] or 'shard'}-{digest}-{start:012d}"


# --- what travels ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageRef:
    """Which image: stays with it from read to the index.

    key: member name up to the first dot of its base name, folders kept (WebDataset's sample key). member: the full
    name. sha256: hex, of the encoded input bytes; empty when they could not be read.
    """

    image_id: str
    key: str
    member: str
    sha256: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sidecar:
    """What travels with an image: a caption, a label, other columns.

    kind `file`: `name` is the extension of a WebDataset member (`txt`, `seg.png`), data its bytes.
    kind `columns`: `name` is "columns", data an Arrow IPC stream of one row with the other columns of a Parquet row.
    """

    name: str
    data: bytes
    kind: Literal["file", "columns"] = "file"


@dataclass(frozen=True, kw_only=True, slots=True)
class EncodedImage:
    """An image as it lies in the source. data: the encoded bytes, undecoded and untrusted."""

    ref: ImageRef
    data: bytes
    sidecars: tuple[Sidecar, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Rejected:
    """Takes the place of an image record that could not go on. stage: the word of the chain (`read`, `decode`, ...).

    preview: a small JPEG for the report; empty in a private run and for what cannot be decoded.
    """

    ref: ImageRef
    stage: str
    reason: str
    detail: str
    width: int = 0
    height: int = 0
    preview: bytes = b""


@dataclass(frozen=True, kw_only=True, slots=True)
class Tile:
    """What a model looks at. pixels: HWC uint8 RGB. box: the part of the upright full-size image that they show,
    XYWH."""

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
class Pixels:
    """A full-size decoded image, upright. rgb: HWC uint8, composited onto white where alpha hid something.

    alpha: HW uint8, or an array of shape (0, 0) for an opaque image.
    """

    rgb: Rgb
    alpha: NDArray[np.uint8]


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
    """One labelled mask. rle: COCO compressed counts of the upright full-size mask; box: XYWH; area: pixels; score:
    0..1."""

    label: str
    class_id: int
    score: float
    rle: bytes
    box: Box
    area: int
    model: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Segments:
    """What a segmenter found in one image; possibly nothing. height, width: upright full-size pixels."""

    image_id: str
    height: int
    width: int
    segments: tuple[Segment, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Segmented(ImageRecord):
    segments: Segments


@dataclass(frozen=True, kw_only=True, slots=True)
class Region:
    """The pixels to fill. rle: COCO compressed counts; area: pixels, 0 = nothing to fill.

    chosen: positions in `Segments.segments` of those that were selected, ascending.
    """

    image_id: str
    height: int
    width: int
    rle: bytes
    area: int
    chosen: tuple[int, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Crop:
    """What a fill sees: one connected part of the region (or a few near each other) with context around it.

    x, y: the left upper pixel of the crop in the upright full-size image. pixels: HWC uint8 RGB, blanked where `mask`
    or any other part of the region is,
    except for a fill that declares `reversible`. mask: HW bool, the pixels this crop has to fill.
    known: HW bool, the pixels outside the whole region: what a fill may learn from. seed: from the image id.
    labels: of the chosen segments that have to do with it, that of the largest one first.
    """

    x: int
    y: int
    pixels: Rgb
    mask: Mask
    known: Mask
    seed: int
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Patch:
    """A filled crop. x, y as in `Crop`. pixels: HWC uint8 RGB; only those under `mask` are ever pasted."""

    x: int
    y: int
    pixels: Rgb
    mask: Mask


@dataclass(frozen=True, kw_only=True, slots=True)
class Selected(ImageRecord):
    segments: Segments
    region: Region


@dataclass(frozen=True, kw_only=True, slots=True)
class Cropped(ImageRecord):
    """crops: empty when the region is empty or the flow fills nothing."""

    segments: Segments
    region: Region
    crops: tuple[Crop, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Filled(ImageRecord):
    segments: Segments
    region: Region
    patches: tuple[Patch, ...]


# --- what is written -------------------------------------------------------------------------------------------


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
    """An image ready for the sink. files: at most one a kind. sidecars: those that are published with it. seam: as
    pipeline/render/seam.py measures it in the filled picture; 0 when none was made."""

    ref: ImageRef
    status: Status
    segments: Segments
    region: Region
    seed: int
    files: tuple[RenderedFile, ...]
    sidecars: tuple[Sidecar, ...]
    previews: tuple[Preview, ...] = ()
    seam: float = 0.0


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
        return Counts(
            images=self.images + other.images,
            written=self.written + other.written,
            unchanged=self.unchanged + other.unchanged,
            rejected=self.rejected + other.rejected,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class OutputFile:
    """One object of a unit's output. path: relative to the output root. sha256: hex, of data."""

    path: str
    data: bytes = field(repr=False)
    sha256: str


@dataclass(frozen=True, kw_only=True, slots=True)
class FileEntry:
    """One object as the commit record names it. size in bytes. etag: what the store told after the put, or empty."""

    path: str
    size: int
    sha256: str
    etag: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Committed:
    """The commit record of one unit, and the small row that the driver sees. seconds: wall time by stage.

    files: published objects that stand. loose: published under names of the source, restorable out of `staged` until
    the run is finished. rejects: (stage, reason, count). segments: (label, count). labels and reasons sorted.
    """

    unit: Unit
    attempt: str
    counts: Counts
    files: tuple[FileEntry, ...]
    loose: tuple[FileEntry, ...]
    staged: tuple[FileEntry, ...]
    rejects: tuple[tuple[str, str, int], ...]
    segments: tuple[tuple[str, int], ...]
    seconds: Mapping[str, float]
    bytes_in: int
    host: str


T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class UnitBatch(Generic[T]):
    """All images of one unit at one stage. items: in source order, one an image. seconds: wall time by stage so far.

    previews: how many images of the unit may still get a preview in the report; known only where images are rendered.
    """

    unit: Unit
    items: tuple[T | Rejected, ...]
    seconds: Mapping[str, float]
    previews: int = 0
