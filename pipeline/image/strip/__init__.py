"""Cut metadata out of an image's container and copy its compressed pixels.

Each format lists what is kept, never what is removed: a chunk, marker, tag or box that the decoder does not need for
the pixels, known or unknown, does not reach the output. So EXIF, XMP, IPTC, comments, thumbnails, second images (MPO,
motion photo, pages, frames) and all bytes behind the image are removed; the compressed pixels stay the same bytes. Data
hidden inside the compressed stream is not detected (steganography, padding behind the last code of an entropy-coded
scan).

Formats as in ITU T.81 and JFIF 1.02, PNG 3rd edition, RFC 9649 (WebP), GIF89a, the Windows BITMAPINFOHEADER family,
TIFF 6.0 (and the BigTIFF layout), ISO 14496-12 / 23008-12 and AV1-ISOBMFF (AVIF).
"""

from __future__ import annotations

from pipeline.image.header import Header
from pipeline.image.strip import avif, bmp, gif, jpeg, png, tiff, webp
from pipeline.image.strip.problems import CannotStrip

__all__ = ["CannotStrip", "strip"]


def strip(data: bytes, header: Header, *, keep_icc: bool, keep_dpi: bool = False) -> bytes:
    """Return the same image without metadata. data: the encoded bytes that `header` was read from.

    keep_icc: keep the colour profile. It says how to show the pixels and names a class of devices, not a person;
    without it the pixels keep their values and may be shown in other colours. keep_dpi: keep the resolution of a PNG;
    that of JPEG and TIFF, two numbers in tags that decoders expect, always stays.
    Raises CannotStrip (reason `strip_unsupported`) when a legal container cannot be cut safely (the caller may encode
    the pixels anew), and when the orientation is not 1, because it would be lost.
    Raises ImageError with reason `malformed_<format>` when the structure contradicts itself.
    """
    if header.orientation != 1:
        raise CannotStrip(f"orientation {header.orientation} would be lost; encode the upright pixels instead")
    match header.format:
        case "JPEG":
            return jpeg.strip(data, keep_icc=keep_icc)
        case "PNG":
            return png.strip(data, icc=header.icc if keep_icc else b"", keep_dpi=keep_dpi)
        case "WEBP":
            return webp.strip(data, keep_icc=keep_icc)
        case "GIF":
            return gif.strip(data)
        case "BMP":
            return bmp.strip(data)
        case "TIFF":
            return tiff.strip(data, keep_icc=keep_icc)
        case "AVIF":
            return avif.strip(data, keep_icc=keep_icc)
        case other:
            raise CannotStrip(f"no rule for {other}")
