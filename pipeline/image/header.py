"""Check the format of an image against an allowlist, and read its header without decoding a pixel.

Bytes decide, never the file's name. The first bytes are compared with the allowlist before any parser runs, so an EPS,
PDF or PSD under a `.jpg` name reaches no decoder. Pillow's own pixel limit is switched off on import, because it warns
or raises at one fixed size: code that decodes checks `Header.width * Header.height` against the limit of the run.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from math import isfinite
from types import MappingProxyType
from typing import Final, Literal, TypeAlias, cast

from PIL import Image, ImageFile, JpegImagePlugin, TiffImagePlugin, UnidentifiedImageError

from pipeline.errors import ImageError, one_line
from pipeline.image import formats
from pipeline.image.jpeg_scan import ScanStream
from pipeline.image.kinds import HEAD_BYTES, by_bytes

Format: TypeAlias = Literal[
    "JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "AVIF", "JPEG2000", "HEIF", "JXL", "DICOM", "NIFTI"
]

FORMATS: Final[tuple[Format, ...]] = (
    "JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "AVIF", "JPEG2000", "HEIF", "JXL", "DICOM", "NIFTI"
)  # fmt: skip
ENCODED_ANEW: Final = ("JPEG2000", "HEIF", "JXL", "DICOM", "NIFTI")
"""Formats that are read and never written: each is published in a format that everybody reads."""

SUFFIX: Final[Mapping[str, str]] = MappingProxyType(
    {
        "JPEG": ".jpg",
        "PNG": ".png",
        "WEBP": ".webp",
        "TIFF": ".tif",
        "BMP": ".bmp",
        "GIF": ".gif",
        "AVIF": ".avif",
    }
)
"""The suffix of published files of each format that is written."""

Image.MAX_IMAGE_PIXELS = None

_EXIF_ORIENTATION = 0x0112
_GEO_KEYS: Final = 34735
GeoValue: TypeAlias = tuple[int, ...] | tuple[float, ...] | str
GEO_TAGS: Final[Mapping[int, int]] = MappingProxyType(
    {33550: 12, 33922: 12, 34264: 12, _GEO_KEYS: 3, 34736: 12, 34737: 2}
)
"""Tag of a georeference (OGC GeoTIFF 1.1, clause 7) -> its type: 2 text, 3 short, 12 double."""
_TIFF_WIDTH, _TIFF_HEIGHT, _TIFF_BITS, _TIFF_SUBFILE, _TIFF_DNG = 256, 257, 258, 254, 50706
_SMALLER_OR_MASK: Final = 1 | 4
"""Bits of the subfile type (TIFF 6.0, tag 254)."""

_OTHERS: Final[Mapping[str, Format]] = MappingProxyType(
    {"JPEG 2000": "JPEG2000", "HEIC": "HEIF", "JPEG XL": "JXL", "DICOM": "DICOM", "NIfTI": "NIFTI"}
)
"""Name in `kinds` -> format."""

# Other formats that image names often hide, to name them in the message: (offset, magic, name)
_FOREIGN: Final = (
    (0, b"%!PS", "EPS or PostScript"),
    (0, b"\xc5\xd0\xd3\xc6", "EPS"),
    (0, b"%PDF-", "PDF"),
    (0, b"8BPS", "PSD"),
    (0, b"SIMPLE", "FITS"),
    (0, b"\x76\x2f\x31\x01", "OpenEXR"),
    (0, b"\x89HDF", "HDF5"),
    (0, b"\x00\x00\x01\x00", "ICO"),
    (0, b"icns", "ICNS"),
    (0, b"DDS ", "DDS"),
    (0, b"qoif", "QOI"),
    (0, b"PK\x03\x04", "a ZIP archive"),
    (0, b"\x1f\x8b", "gzip"),
    (0, b"\x93NUMPY", "a NumPy array"),
    (0, b"version https://git-lfs", "a Git LFS pointer (fetch the real file)"),
    (8, b"WAVE", "WAV"),
    (8, b"AVI ", "AVI"),
    (4, b"ftyp", "MP4 or a relative"),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Header:
    """The header of an encoded image."""

    format: Format
    width: int
    """Pixels as stored, before the orientation is applied, as height."""
    height: int
    orientation: int
    """EXIF 1..8; 1 when absent, unreadable or out of range."""
    mode: str
    """Pillow's, as decoded: `RGB`, `P`, `I;16`, ..."""
    bits: int
    """Per sample as stored; as decoded, mostly 8, for AVIF, WebP and formats that Pillow does not read."""
    has_alpha: bool
    """An alpha channel or a transparent colour exists, used or not."""
    icc: bytes
    """The embedded profile, or empty."""
    quantization: tuple[tuple[int, ...], ...]
    """JPEG only, 64 values each in natural order: the luma table, then the chroma table where it differs."""
    subsampling: int
    """JPEG only: Pillow's 0 = 4:4:4, 1 = 4:2:2, 2 = 4:2:0; -1 for any other."""
    frames: int
    """Pages of a TIFF (without thumbnails and masks), frames of an animation, slices of a volume, pictures of an MPO
    (format `JPEG`) or a HEIC."""
    frame: int = 0
    """The picture of the file that this is the header of, from 1; 0: its only or main one."""
    geo: tuple[tuple[int, GeoValue], ...] = ()
    """GeoTIFF only: tag and value of its georeference, in the order of the tags."""

    @property
    def upright(self) -> tuple[int, int]:
        """(height, width) with the orientation applied."""
        return (self.width, self.height) if self.orientation >= 5 else (self.height, self.width)

    @property
    def can_be_cut(self) -> bool:
        """Whether the container, less its metadata, is the picture: a format that is written, and not one frame of a
        file that only holds animations whole."""
        whole = self.frames == 1 or (not self.frame and self.format not in ("WEBP", "AVIF"))
        return whole and self.format not in ENCODED_ANEW


@contextmanager
def undecodable(what: str) -> Iterator[None]:
    """Turn any error of Pillow into one ImageError, and drop its warnings; an ImageError passes through.

    Its parsers raise far more than OSError for hostile bytes (SyntaxError, struct.error, KeyError, ...), so all of
    Exception is caught, MemoryError included. The warnings are about tags and chunks that are never published.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except ImageError:
        raise
    except UnidentifiedImageError as error:  # its message holds a memory address, which differs from run to run
        raise ImageError(
            "undecodable", f"expected {what}, got a header or a kind of pixels that cannot be read"
        ) from error
    except Exception as error:
        detail = one_line(error, 200)
        short = isinstance(error, EOFError) or any(
            word in detail for word in ("truncated", "Truncated", "unexpected end")
        )
        raise ImageError("truncated" if short else "undecodable", f"expected {what}, got: {detail}") from error


def identify(data: bytes) -> Format:
    """Identify the format by the first bytes. Raises ImageError `empty` or `format_not_allowed`, which names the format
    found."""
    if not data:
        raise ImageError("empty", "expected an encoded image, got 0 bytes")
    if data[:3] == b"\xff\xd8\xff":
        return "JPEG"
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        return "PNG"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    if data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+") and data[8:10] != b"CR":
        return "TIFF"
    if data[:2] == b"BM":
        return "BMP"
    if data[:6] in (b"GIF87a", b"GIF89a"):
        return "GIF"
    if data[4:8] == b"ftyp" and _is_avif(data):
        return "AVIF"
    kind = by_bytes(data[:HEAD_BYTES])
    if kind is not None and kind.name in _OTHERS:
        return _OTHERS[kind.name]
    raise _not_allowed(_name_of(data))


def open_image(data: bytes, frame: int = 0) -> ImageFile.ImageFile:
    """Open an image without decoding it. frame: of a file of several, from 1; 0: its only or main picture, which is the
    first one of a JPEG (MPO), a TIFF, an animation or a volume, and the primary one of a HEIC.

    Raises ImageError `empty`, `format_not_allowed`, `undecodable`, `truncated` and what `formats` raises.
    """
    kind = identify(data)
    if (missing := _missing_bytes(data, kind)) > 0:
        raise ImageError("truncated", f"expected {len(data) + missing} bytes of {kind}, got {len(data)}")
    with undecodable(f"{kind} data"):
        if (other := formats.opener(kind)) is not None:
            image = other(data)
        else:
            stream = ScanStream(data) if kind == "JPEG" else io.BytesIO(data)
            image = Image.open(stream, formats=(kind,))
        if isinstance(image, TiffImagePlugin.TiffImageFile):
            _refuse_raw(image)
        elif kind == "PNG" and (exif := _png_exif(data)):
            image.info["exif"] = exif  # Pillow would decode all pixels to find a chunk behind them
    if frame:
        seek_frame(image, frame)
    return image


def seek_frame(image: ImageFile.ImageFile, frame: int) -> None:
    """Go to a frame, counted from 1, of an image from `open_image`. Raises ImageError `undecodable`, `truncated`."""
    with undecodable(f"frame {frame} of a {image.format}"):
        image.seek(full_pages(image)[frame - 1])


def full_pages(image: ImageFile.ImageFile) -> Sequence[int]:
    """Return Pillow's positions of the pictures of a file: all, but of a TIFF not smaller copies (the levels of a
    pyramid, thumbnails) and masks."""
    count = int(getattr(image, "n_frames", 1))
    if count == 1 or not isinstance(image, TiffImagePlugin.TiffImageFile):
        return range(count)
    known: list[int] = vars(image).setdefault("full_pages", [])
    if not known:  # every page's tags are read once
        here = image.tell()
        for page in range(count):
            image.seek(page)
            if page == 0 or not int(image.tag_v2.get(_TIFF_SUBFILE, 0)) & _SMALLER_OR_MASK:
                known.append(page)
        image.seek(here)
    return known


def header_of(image: ImageFile.ImageFile, frame: int = 0) -> Header:
    """Read the header of an image from `open_image` before it is loaded: loading a TIFF turns it and drops the tag. A
    JPEG XL is decoded: check its size before. frame: as it was opened with."""
    kind = cast(Format, "JPEG" if image.format == "MPO" else image.format)
    with undecodable(f"a {kind} header"):
        if kind == "JXL":
            image.load()
        width, height = image.size
        if isinstance(image, TiffImagePlugin.TiffImageFile):
            width, height = int(image.tag_v2[_TIFF_WIDTH]), int(image.tag_v2[_TIFF_HEIGHT])
        if width < 1 or height < 1:
            raise ImageError("undecodable", f"expected at least 1x1 pixels, got {width}x{height}")
        jpeg = image if isinstance(image, JpegImagePlugin.JpegImageFile) else None
        return Header(
            format=kind,
            width=width,
            height=height,
            orientation=1 if kind in ENCODED_ANEW else _orientation(image),  # they are decoded upright
            mode=image.mode,
            bits=_bits(image),
            has_alpha=image.has_transparency_data,
            icc=bytes(image.info.get("icc_profile") or b""),
            quantization=_quantization(jpeg) if jpeg else (),
            subsampling=JpegImagePlugin.get_sampling(jpeg) if jpeg else -1,
            frames=len(full_pages(image)),
            frame=frame,
            geo=_geo(image) if isinstance(image, TiffImagePlugin.TiffImageFile) else (),
        )


def read_header(data: bytes, frame: int = 0) -> Header:
    """Read a header, in most formats without decoding a pixel. Raises ImageError as `open_image` does."""
    return header_of(open_image(data, frame), frame)


def _not_allowed(found: str) -> ImageError:
    return ImageError(
        "format_not_allowed", f"expected one of {', '.join(FORMATS)}, got {found}: convert it, or leave it out"
    )


def _is_avif(data: bytes) -> bool:
    """Whether AVIF is the brand of the file type box, or a compatible brand of a general HEIF one."""
    brands = data[8 : max(16, min(int.from_bytes(data[:4], "big"), 512))]
    return brands[:4] in (b"avif", b"avis") or (brands[:4] in (b"mif1", b"msf1", b"miaf") and b"avif" in brands[8:])


def _name_of(data: bytes) -> str:
    """Name the format of bytes that are not allowed."""
    for offset, magic, name in _FOREIGN:
        if data.startswith(magic, offset):
            return name
    if data[:4] in (b"II*\0", b"MM\0*"):
        return "a Canon raw file (CR2)"
    if data[:1] == b"P" and data[1:2] in b"1234567" and data[2:3].isspace():
        return "a netpbm image"
    text = data[:1024].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if b"<svg" in text:
        return "SVG"
    if text.startswith((b"<!doctype html", b"<html")):
        return "an HTML page"
    return f"unknown bytes {data[:8].hex(' ')}"


def _missing_bytes(data: bytes, kind: Format) -> int:
    """Bytes that the data lacks of the size that a WebP, AVIF or HEIC container declares: their parsers do not check
    it."""
    if kind == "WEBP":
        return 8 + int.from_bytes(data[4:8], "little") - len(data)
    boxed = kind in ("AVIF", "HEIF")
    at = 0
    while boxed and at + 8 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        if size == 1:
            size = int.from_bytes(data[at + 8 : at + 16], "big")
        if size < 8:  # 0: to the end of the file; 1 to 7: broken, which the parser reports
            return 0
        at += size
    return at - len(data) if boxed else 0


def _refuse_raw(image: TiffImagePlugin.TiffImageFile) -> None:
    """Refuse camera raw files, TIFFs whose first page is a thumbnail: using that as the image would be silent loss."""
    if _TIFF_DNG in image.tag_v2:
        raise _not_allowed("a camera raw file (DNG)")
    if int(image.tag_v2.get(_TIFF_SUBFILE, 0)) & 1:
        raise _not_allowed("a TIFF whose first page is a thumbnail (a camera raw file?)")


def _png_exif(data: bytes) -> bytes:
    """Find the eXIf chunk, which may stand behind the pixels; empty when there is none."""
    at = 8
    while at + 8 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        if data[at + 4 : at + 8] == b"eXIf":
            return b"Exif\0\0" + data[at + 8 : at + 8 + size]
        at += size + 12
    return b""


def _orientation(image: Image.Image) -> int:
    """Read EXIF's orientation, typed as any whole number. Of several Exif segments of a JPEG the first that has one
    counts, before XMP, as exiftool and OpenCV read them."""
    segments = [body for _, body in getattr(image, "applist", ()) if body.startswith(b"Exif\0\0")]
    blocks: list[Image.Exif] = []
    for segment in segments if len(segments) > 1 else ():
        blocks.append(Image.Exif())
        with suppress(Exception):  # broken metadata says nothing about the pixels
            blocks[-1].load(segment)
    with suppress(Exception):
        blocks.append(Image.Image.getexif(image))  # of the base class: PNG's own getexif decodes the pixels first
    for block in blocks:
        with suppress(Exception):
            value = block.get(_EXIF_ORIENTATION)
            if isinstance(value, bytes) and len(value) == 1:
                value = block[_EXIF_ORIENTATION] = value[0]  # by which Pillow turns a TIFF while it loads
            if value is not None:
                return value if isinstance(value, int) and 1 <= value <= 8 else 1
    return 1


def _bits(image: ImageFile.ImageFile) -> int:
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        return max(int(bits) for bits in image.tag_v2.get(_TIFF_BITS, (1,)))
    if image.mode.startswith("I;16") and image.format != "PNG":
        return 16
    if image.format == "PNG":
        # IHDR comes first: 8 bytes of signature, 8 of length and type, 8 of width and height, then the depth.
        return cast(io.BytesIO, image.fp).getbuffer()[24]
    return 1 if image.mode == "1" else 8


def _geo(image: TiffImagePlugin.TiffImageFile) -> tuple[tuple[int, GeoValue], ...]:
    """Read the georeference; empty when there is none or a tag of it is not as the standard says."""
    found: list[tuple[int, GeoValue]] = []
    for tag, kind in GEO_TAGS.items():
        value = image.tag_v2.get(tag)
        if value is None:
            continue
        values = value if isinstance(value, tuple) else (value,)
        if kind == 2:
            right = isinstance(value, str)
        elif kind == 3:
            right = all(isinstance(number, int) and 0 <= number <= 0xFFFF for number in values)
        else:
            right = all(isinstance(number, float) and isfinite(number) for number in values)
        if not right:
            return ()
        found.append((tag, value if kind == 2 else values))
    return tuple(found) if any(tag == _GEO_KEYS for tag, _ in found) else ()


def _quantization(jpeg: JpegImagePlugin.JpegImageFile) -> tuple[tuple[int, ...], ...]:
    """The tables in the order of the components that use them, each once."""
    used = dict.fromkeys(component[3] for component in jpeg.layer)
    return tuple(tuple(jpeg.quantization[table]) for table in used if table in jpeg.quantization)
