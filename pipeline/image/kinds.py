"""Name the kind of a file by its first bytes, or by its suffix: an image that is read, one that is not, or no image.

Sources use it to find images, and to count what they pass over; `header.identify` decides what a decoder may open.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Final, Literal, TypeAlias

Holds: TypeAlias = Literal["image", "images", "other"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Kind:
    """One kind of file.

    name: for people. suffixes: lower case, with the dot. magic: (offset, bytes) pairs, any of which tells it. holds:
    `image`: it is one; `images`: it may hold some (an archive, a video); `other`: none. read: Segfill reads it as an
    image, with the extra `extra` of the package where that is not empty.
    """

    name: str
    suffixes: tuple[str, ...]
    magic: tuple[tuple[int, bytes], ...] = ()
    holds: Holds = "image"
    read: bool = False
    extra: str = ""


KINDS: Final = (
    Kind(name="JPEG", suffixes=(".jpg", ".jpeg", ".jpe", ".jfif"), magic=((0, b"\xff\xd8\xff"),), read=True),
    Kind(name="PNG", suffixes=(".png", ".apng"), magic=((0, b"\x89PNG\r\n\x1a\n"),), read=True),
    Kind(name="WebP", suffixes=(".webp",), magic=((8, b"WEBPVP8"),), read=True),
    Kind(name="BMP", suffixes=(".bmp", ".dib"), magic=((0, b"BM"),), read=True),
    Kind(name="GIF", suffixes=(".gif",), magic=((0, b"GIF87a"), (0, b"GIF89a")), read=True),
    Kind(name="AVIF", suffixes=(".avif",), magic=((4, b"ftypavif"), (4, b"ftypavis")), read=True),
    Kind(name="CR2", suffixes=(".cr2",), magic=((8, b"CR"),)),
    Kind(name="DNG", suffixes=(".dng",)),
    Kind(name="camera raw", suffixes=(".nef", ".nrw", ".arw", ".orf", ".rw2", ".pef", ".srw", ".raf", ".3fr", ".iiq")),
    Kind(name="CR3", suffixes=(".cr3",), magic=((4, b"ftypcrx "),)),
    Kind(
        name="TIFF",
        suffixes=(".tif", ".tiff"),
        magic=((0, b"II*\0"), (0, b"MM\0*"), (0, b"II+\0"), (0, b"MM\0+")),
        read=True,
    ),
    Kind(
        name="HEIC",
        suffixes=(".heic", ".heif", ".hif", ".heics", ".heifs"),
        magic=((4, b"ftyphei"), (4, b"ftyphev"), (4, b"ftypmif1"), (4, b"ftypmsf1")),
        read=True,
        extra="heif",
    ),
    Kind(
        name="JPEG XL",
        suffixes=(".jxl",),
        magic=((0, b"\xff\x0a"), (0, b"\0\0\0\x0cJXL ")),
        read=True,
        extra="jxl",
    ),
    Kind(
        name="JPEG 2000",
        suffixes=(".jp2", ".j2k", ".jpx", ".jpf", ".j2c", ".jpc"),
        magic=((0, b"\0\0\0\x0cjP  "), (0, b"\xff\x4f\xff\x51")),
        read=True,
    ),
    Kind(name="DICOM", suffixes=(".dcm", ".dicom"), magic=((128, b"DICM"),), read=True, extra="medical"),
    Kind(
        name="NIfTI",
        suffixes=(".nii", ".nii.gz"),
        magic=((344, b"n+1\0"), (4, b"n+2\0")),
        read=True,
        extra="medical",
    ),
    Kind(name="PSD", suffixes=(".psd", ".psb"), magic=((0, b"8BPS"),)),
    Kind(name="ICO", suffixes=(".ico", ".cur"), magic=((0, b"\0\0\1\0"), (0, b"\0\0\2\0"))),
    Kind(name="ICNS", suffixes=(".icns",), magic=((0, b"icns"),)),
    Kind(name="DDS", suffixes=(".dds",), magic=((0, b"DDS "),)),
    Kind(name="QOI", suffixes=(".qoi",), magic=((0, b"qoif"),)),
    Kind(name="OpenEXR", suffixes=(".exr",), magic=((0, b"\x76\x2f\x31\x01"),)),
    Kind(name="Radiance HDR", suffixes=(".hdr",), magic=((0, b"#?RADIANCE"),)),
    Kind(name="FITS", suffixes=(".fits", ".fit"), magic=((0, b"SIMPLE  ="),)),
    Kind(name="TGA", suffixes=(".tga",)),
    Kind(
        name="PNM",
        suffixes=(".ppm", ".pgm", ".pbm", ".pnm", ".pam"),
        magic=tuple((0, b"P%d" % digit + space) for digit in range(1, 8) for space in (b"\n", b" ")),
    ),
    Kind(name="SVG", suffixes=(".svg", ".svgz")),
    Kind(name="EPS", suffixes=(".eps", ".ps"), magic=((0, b"%!PS"), (0, b"\xc5\xd0\xd3\xc6"))),
    Kind(name="WMF", suffixes=(".wmf", ".emf")),
    Kind(name="PDF", suffixes=(".pdf",), magic=((0, b"%PDF-"),), holds="images"),
    Kind(
        name="video",
        suffixes=(".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv", ".3gp", ".mts"),
        magic=((4, b"ftyp"), (8, b"AVI "), (0, b"\x1aE\xdf\xa3")),
        holds="images",
    ),
    Kind(name="ZIP", suffixes=(".zip", ".cbz"), magic=((0, b"PK\3\4"), (0, b"PK\5\6")), holds="images"),
    Kind(name="7z", suffixes=(".7z",), magic=((0, b"7z\xbc\xaf\x27\x1c"),), holds="images"),
    Kind(name="RAR", suffixes=(".rar",), magic=((0, b"Rar!\x1a\7"),), holds="images"),
    Kind(name="TFRecord", suffixes=(".tfrecord", ".tfrec", ".tfrecords"), holds="images"),
    Kind(name="Arrow", suffixes=(".arrow", ".feather"), magic=((0, b"ARROW1"),), holds="images"),
    Kind(name="LMDB", suffixes=(".mdb", ".lmdb"), holds="images"),
    Kind(name="HDF5", suffixes=(".h5", ".hdf5", ".hdf"), magic=((0, b"\x89HDF\r\n\x1a\n"),), holds="images"),
    Kind(name="NumPy", suffixes=(".npy", ".npz"), magic=((0, b"\x93NUMPY"),), holds="images"),
    Kind(name="Parquet", suffixes=(".parquet", ".parq", ".pq"), magic=((0, b"PAR1"),), holds="images"),
    Kind(
        name="tar",
        suffixes=(".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tbz", ".tar.xz", ".txz", ".tar.zst", ".tzst"),
        magic=((257, b"ustar"),),
        holds="images",
    ),
    Kind(name="Git LFS pointer", suffixes=(), magic=((0, b"version https://git-lfs"),)),
)
"""Magic is compared in this order: a narrower kind stands before a wider one (CR2 before TIFF, HEIC before video)."""

HEAD_BYTES: Final = 512
"""First bytes of a file that `by_bytes` needs."""

IMAGE_SUFFIXES: Final = frozenset(s for kind in KINDS if kind.read for s in kind.suffixes if s.count(".") == 1)
"""Lower-case suffixes of the images that are read, each the last of a name: the one list of all sources. A `.nii.gz` is
told by its bytes."""


_PACKAGES: Final = {"heif": ("pillow_heif",), "jxl": ("pillow_jxl",), "medical": ("pydicom", "nibabel")}
"""Extra -> the modules that it installs."""
_IN_GZIP: Final = ("NIfTI", "tar")


def by_bytes(head: bytes) -> Kind | None:
    """Return the kind that the first `HEAD_BYTES` bytes of a file tell, or None. A NIfTI and a tar are told in gzip,
    too."""
    if head[:3] == b"\x1f\x8b\x08":
        inner = _told(unpacked(head, HEAD_BYTES))
        return inner if inner and inner.name in _IN_GZIP else None
    return _told(head)


def _told(head: bytes) -> Kind | None:
    return next((k for k in KINDS for at, magic in k.magic if head[at : at + len(magic)] == magic), None)


def unpacked(data: bytes, length: int) -> bytes:
    """Return at most the first `length` bytes of gzip data, which may be cut; empty when it is damaged."""
    try:
        return zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(data, length)
    except zlib.error:
        return b""


def missing_extra(kind: Kind) -> str:
    """Return the extra of the package that this kind needs and that is not installed; empty when nothing is missing."""
    missing = any(find_spec(module) is None for module in _PACKAGES.get(kind.extra, ()))
    return kind.extra if missing else ""


def by_suffix(path: str) -> Kind | None:
    """Return the kind that the end of a path tells, or None. Capital letters do not matter."""
    name = path.rpartition("/")[2].lower()
    return next((kind for kind in KINDS if name.endswith(kind.suffixes)), None) if "." in name else None


def is_image(head: bytes) -> bool:
    """Whether the first bytes are those of an image that is read."""
    kind = by_bytes(head)
    return kind is not None and kind.read
