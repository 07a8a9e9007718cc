"""What must not be published along with the pixels? Metadata is cut out of the container; the pixel data is copied.

Works by what is kept, never by what is removed: a chunk, marker, tag or box that the decoder does not need for the
pixels does not reach the output, known or not. So EXIF, XMP, IPTC, comments, thumbnails, second images (MPO, motion
photo, pages, frames) and whatever stands behind the image are gone, and the compressed pixels are the same bytes.
Not looked for: data that somebody hid inside the compressed stream itself (steganography, padding behind the last
code of an entropy-coded scan).

Formats as in ITU T.81 and JFIF 1.02, PNG 3rd edition, RFC 9649 (WebP), GIF89a, the Windows BITMAPINFOHEADER family,
TIFF 6.0 (and the BigTIFF layout), ISO 14496-12 / 23008-12 and AV1-ISOBMFF (AVIF).
"""

from __future__ import annotations

from pipeline.image.header import Header
from pipeline.image.strip import avif, bmp, gif, jpeg, png, tiff, webp
from pipeline.image.strip.problems import CannotStrip

__all__ = ["CannotStrip", "strip"]


def strip(data: bytes, header: Header, *, keep_icc: bool) -> bytes:
    """The same image without metadata. data: the encoded bytes that `header` was read from.

    keep_icc: keep the colour profile. It says how to show the pixels and names a device class, not a person; without
    it the pixels keep their values and may look different.
    Raises CannotStrip (reason `strip_unsupported`) when this container, though legal, cannot be cut safely (the
    caller may encode anew), and when the orientation is not 1, because it would be lost: bake it first.
    Raises ImageError with reason `malformed_<format>` when the structure contradicts itself.
    """
    if header.orientation != 1:
        raise CannotStrip(f"orientation {header.orientation} would be lost; encode the upright pixels instead")
    match header.format:
        case "JPEG":
            return jpeg.strip(data, keep_icc=keep_icc)
        case "PNG":
            return png.strip(data, icc=header.icc if keep_icc else b"")
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
