"""Encoded photographs in every format, with a secret planted wherever metadata can be."""

from __future__ import annotations

import io
import struct
import zlib
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tifffile
from PIL import Image, ImageCms, ImageDraw, PngImagePlugin, TiffImagePlugin

SECRET = b"PLANTED-SECRET"
TEXT = SECRET.decode()
XMP = (
    b"<?xpacket begin='' id='W5M0MpCehiHzreSzNTczkc9d'?><x:xmpmeta xmlns:x='adobe:ns:meta/'>"
    b"<rdf:RDF xmlns:rdf='http://www.w3.org/1999/02/22-rdf-syntax-ns#'><rdf:Description rdf:about='' "
    b"xmlns:dc='http://purl.org/dc/elements/1.1/' dc:source='" + SECRET + b"'/></rdf:RDF></x:xmpmeta>"
)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def photo(name: str = "astronaut.png") -> Image.Image:
    """A photograph of the scikit-image wheel, RGB."""
    spec = find_spec("skimage")
    assert spec is not None
    assert spec.origin is not None
    with Image.open(Path(spec.origin).parent / "data" / name) as image:
        return image.convert("RGB")


def small() -> Image.Image:
    """The astronaut's head, 121 x 90: neither side is a multiple of a block size."""
    return photo().crop((160, 40, 402, 220)).resize((121, 90))


def with_alpha(image: Image.Image) -> Image.Image:
    """Add a gradient of alpha, fully transparent at the left over a hidden colour."""
    rgba = np.dstack([np.asarray(image), np.zeros(image.size[::-1], np.uint8)])
    rgba[..., 3] = np.linspace(0, 255, image.width).astype(np.uint8)[None]
    rgba[:, :20] = (255, 0, 77, 0)
    return Image.fromarray(rgba)


def exif(orientation: int = 1) -> Image.Exif:
    """Camera, artist, GPS and a thumbnail's place."""
    tags = Image.Exif()
    tags[0x010F] = tags[0x013B] = tags[0x010E] = TEXT
    if orientation != 1:
        tags[0x0112] = orientation
    gps = tags.get_ifd(0x8825)
    gps[1], gps[2], gps[0x1B] = "N", (48.0, 51.0, 29.6), SECRET
    tags.get_ifd(0x8769)[0x9286] = b"ASCII\0\0\0" + SECRET
    return tags


def full_exif() -> bytes:
    """EXIF as a camera writes it: artist, a maker note, GPS, and a second directory with a thumbnail."""
    thumbnail = saved(Image.new("RGB", (16, 12), (200, 30, 30)), "JPEG", comment=SECRET)
    text, double = SECRET + b"\0", len(SECRET) + 1
    parts: list[list[tuple[int, int, int, bytes | str]]] = [
        # (directory, tag, type, count, value): types 1 BYTE, 2 ASCII, 3 SHORT, 4 LONG, 5 RATIONAL, 7 UNDEFINED
        [(0x010F, 2, double, text), (0x013B, 2, double, text), (0x8769, 4, 1, "exif"), (0x8825, 4, 1, "gps")],
        [(0x0103, 3, 1, b"\x06\0\0\0"), (0x0201, 4, 1, "thumbnail"), (0x0202, 4, 1, struct.pack("<I", len(thumbnail)))],
        [(0x927C, 7, len(SECRET), SECRET), (0x9286, 7, 8 + len(SECRET), b"ASCII\0\0\0" + SECRET)],
        [
            (0, 1, 4, b"\x02\x03\0\0"),
            (1, 2, 2, b"N\0\0\0"),
            (2, 5, 3, struct.pack("<6I", 48, 1, 51, 1, 296, 10)),
            (3, 2, 2, b"E\0\0\0"),
            (4, 5, 3, struct.pack("<6I", 2, 1, 17, 1, 402, 10)),
            (0x1B, 7, 8 + len(SECRET), b"ASCII\0\0\0" + SECRET),
        ],
    ]
    places, at = [], 8
    for entries in parts:
        places.append(at)
        at += 2 + 12 * len(entries) + 4
    named = {"exif": places[2], "gps": places[3]}
    data, directories = b"", b""
    for number, entries in enumerate(parts):
        directories += struct.pack("<H", len(entries))
        for tag, kind, count, value in entries:
            if value == "thumbnail":
                value = struct.pack("<I", at + len(data))
                data += thumbnail
            elif isinstance(value, str):
                value = struct.pack("<I", named[value])
            elif len(value) > 4:
                data, value = data + value, struct.pack("<I", at + len(data))
            directories += struct.pack("<HHI", tag, kind, count) + value
        directories += struct.pack("<I", places[1] if number == 0 else 0)
    return b"Exif\0\0II*\0" + struct.pack("<I", 8) + directories + data


def _exif(orientation: int) -> Image.Exif | bytes:
    """Full EXIF for an upright picture; without a thumbnail, which Pillow cannot write, for a turned one."""
    return full_exif() if orientation == 1 else exif(orientation)


def saved(image: Image.Image, fmt: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, fmt, **options)
    return out.getvalue()


# --- JPEG ------------------------------------------------------------------------------------------------------


def _segment(code: int, body: bytes) -> bytes:
    return bytes((0xFF, code)) + (len(body) + 2).to_bytes(2, "big") + body


def jpeg(image: Image.Image, *, orientation: int = 1, **options: object) -> bytes:
    """EXIF with GPS, XMP, extended XMP, Photoshop with IPTC, JFIF and JFXX thumbnails, comments, MPF, a tail."""
    options = {"quality": 90, "exif": _exif(orientation), **options}
    data = saved(image, "JPEG", **options)
    thumbnail = b"\xff\xd8" + SECRET + b"\xff\xd9"
    iptc = b"\x1c\x02\x78" + len(SECRET).to_bytes(2, "big") + SECRET
    irb = b"Photoshop 3.0\x008BIM\x04\x04\0\0" + len(iptc).to_bytes(4, "big") + iptc + b"\0" * (len(iptc) & 1)
    grey_thumb = b"\x05\x01" + SECRET + b"x"  # 5 x 1 pixels of RGB: 15 bytes
    start = 2
    if data[2:4] == b"\xff\xe0":
        start = 4 + int.from_bytes(data[4:6], "big")
    planted = [
        b"\xff\xd8",
        _segment(0xE0, b"JFIF\0\x01\x02\x01\x00\x48\x00\x48" + grey_thumb) if start > 2 else b"",
        _segment(0xE0, b"JFXX\0\x10" + thumbnail) if start > 2 else b"",
        _segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + XMP),
        _segment(0xE1, b"http://ns.adobe.com/xmp/extension/\0" + XMP),
        _segment(0xED, irb),
        _segment(0xE2, b"MPF\0" + SECRET),
        _segment(0xEB, SECRET),
        _segment(0xFE, SECRET),
        data[start:-2],
        _segment(0xFE, SECRET),  # a comment after the scan
        b"\xff\xd9",
        thumbnail,
        SECRET,
    ]
    return b"".join(planted)


def mpo(image: Image.Image) -> bytes:
    second = Image.new("RGB", image.size, (9, 8, 7))
    ImageDraw.Draw(second).text((5, 5), TEXT)
    return saved(image, "MPO", save_all=True, append_images=[second], exif=_exif(1)) + SECRET


# --- PNG -------------------------------------------------------------------------------------------------------


def chunk(kind: bytes, body: bytes) -> bytes:
    return len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big")


def png(image: Image.Image, *, orientation: int = 1, **options: object) -> bytes:
    """Text in three kinds of chunk, EXIF, XMP, time, a private chunk, before and after the pixels, and a tail."""
    info = PngImagePlugin.PngInfo()
    info.add_text("Author", TEXT)
    info.add_text("Comment", TEXT, zip=True)
    info.add_itxt("XML:com.adobe.xmp", XMP.decode())
    data = saved(image, "PNG", pnginfo=info, exif=_exif(orientation), icc_profile=SRGB, **options)
    extra = chunk(b"tIME", b"\x07\xea\x01\x01\x01\x01\x01") + chunk(b"seCr", SECRET)
    at = data.index(b"IDAT") - 4
    data = data[:at] + extra + data[at:]
    return data[:-12] + chunk(b"tEXt", b"Late\0" + SECRET) + data[-12:] + SECRET


# --- the others ------------------------------------------------------------------------------------------------


def webp(image: Image.Image, **options: object) -> bytes:
    """EXIF, XMP, an unknown chunk and a tail; extended layout."""
    data = saved(image, "WEBP", exif=_exif(1), xmp=XMP, icc_profile=SRGB, **options)
    body = data[8:] + b"seCr" + struct.pack("<I", len(SECRET)) + SECRET
    return b"RIFF" + len(body).to_bytes(4, "little") + body + SECRET


def gif(image: Image.Image, **options: object) -> bytes:
    """A comment, XMP and NETSCAPE application data, a plain text extension, a tail."""
    data = saved(image.convert("RGB").quantize(64), "GIF", comment=SECRET, **options)
    blocks = b"\x21\xff\x0bXMP DataXMP" + bytes((len(SECRET),)) + SECRET + b"\0"
    blocks += b"\x21\xff\x0bNETSCAPE2.0\x03\x01\0\0\0"
    blocks += b"\x21\x01\x0c" + bytes(12) + bytes((len(SECRET),)) + SECRET + b"\0"
    at = 13 + (3 << ((data[10] & 7) + 1))
    return data[:at] + blocks + data[at:-1] + blocks + b";" + SECRET


def bmp(image: Image.Image) -> bytes:
    """A gap before the pixels, secrets in the row padding and after the image."""
    data = saved(image, "BMP")
    offset = int.from_bytes(data[10:14], "little")
    row = image.width * {"1": 1, "L": 8, "P": 8, "RGB": 24}[image.mode]
    used, stride = (row + 7) // 8, (row + 31) // 32 * 4
    pixels = bytearray(data[offset:])
    for at in range(0, len(pixels), stride):
        pixels[at + used : at + stride] = SECRET[: stride - used]
    gap = SECRET.ljust(32)
    head = bytearray(data[:offset])
    struct.pack_into("<I", head, 10, offset + len(gap))
    struct.pack_into("<I", head, 6, int.from_bytes(SECRET[:4], "little"))
    return bytes(head) + gap + bytes(pixels) + SECRET


def bmp_v5(image: Image.Image) -> bytes:
    """RGB with a V5 header whose embedded profile holds the secret."""
    plain = saved(image, "BMP")
    pixels = plain[54:]
    head = bytearray(124)
    head[:40] = plain[14:54]
    struct.pack_into("<I", head, 0, 124)
    head[56:60] = b"DEBM"
    struct.pack_into("<II", head, 112, 124 + len(pixels), len(SECRET))
    return b"BM" + struct.pack("<IHHI", 138 + len(pixels) + len(SECRET), 0, 0, 138) + bytes(head) + pixels + SECRET


def tiff(image: Image.Image, *, pages: int = 1, **options: object) -> bytes:
    """Text tags, EXIF, GPS, XMP, IPTC, Photoshop and private tags, a profile, a tail, and a second page on request."""
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    for tag in (269, 270, 271, 272, 285, 305, 306, 315, 316, 33432):
        tags[tag] = TEXT
    for tag, kind in ((700, 1), (33723, 7), (34377, 1), (50000, 7)):
        tags[tag] = XMP if tag == 700 else SECRET
        tags.tagtype[tag] = kind
    if not options:  # libtiff, which Pillow calls to compress, writes no GPS directory
        tags[34853] = {29: TEXT}
    page = image.resize((40, 30))
    page.encoderinfo = {"tiffinfo": {270: TEXT}}
    second = {"save_all": True, "append_images": [page]} if pages == 2 else {}
    return saved(image, "TIFF", tiffinfo=tags, icc_profile=SRGB, **second, **options) + SECRET


def png_deep(image: Image.Image) -> bytes:
    """16-bit colours of 12 bits, with the chunks of `png`."""
    deep = np.asarray(image).astype(np.uint16)[..., ::-1] << 4
    plain = cv2.imencode(".png", deep)[1].tobytes()
    full = png(image)
    return (
        plain[:33]
        + full[33 : full.index(b"IDAT") - 4]
        + plain[33:-12]
        + chunk(b"tEXt", b"Late\0" + SECRET)
        + plain[-12:]
    )


def tiff_deep(image: Image.Image, *, planes: bool = False) -> bytes:
    """16-bit colours of 12 bits with text tags and a private one; planes: each colour apart."""
    deep, out = np.asarray(image).astype(np.uint16) << 4, io.BytesIO()
    layout: Any = {"photometric": "rgb", "planarconfig": "separate" if planes else "contig", "metadata": None}
    private: Any = [(50000, 7, len(SECRET), SECRET, True), (315, 2, 0, TEXT, True)]
    with tifffile.TiffWriter(out) as writer:
        source = np.moveaxis(deep, 2, 0) if planes else deep
        writer.write(source, description=TEXT, software=TEXT, extratags=private, iccprofile=SRGB, **layout)
    return out.getvalue() + SECRET


def avif(image: Image.Image) -> bytes:
    tail = struct.pack(">I4s", 8 + len(SECRET), b"free") + SECRET
    return saved(image, "AVIF", exif=_exif(1), xmp=XMP, icc_profile=SRGB, quality=80) + tail


def every() -> dict[str, bytes]:
    """Name -> bytes. Each can be stripped without recoding its pixels."""
    image = small()
    grey, palette = image.convert("L"), image.quantize(32)
    alpha = with_alpha(image)
    deep = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    rng = np.random.default_rng(5)
    return {
        "jpeg": jpeg(image),
        "jpeg-icc": jpeg(image, icc_profile=SRGB),
        "jpeg-progressive": jpeg(image, progressive=True, subsampling=2),
        "jpeg-restart": jpeg(image, restart_marker_rows=1, subsampling=1),
        "jpeg-grey": jpeg(grey),
        "jpeg-cmyk": jpeg(image.convert("CMYK")),
        "jpeg-rgb": jpeg(image, keep_rgb=True),
        "jpeg-noise": jpeg(Image.fromarray(rng.integers(0, 256, (61, 83, 3), np.uint8)), quality=100),
        "mpo": mpo(image),
        "png": png(image),
        "png-grey": png(grey),
        "png-bilevel": png(image.convert("1")),
        "png-16": png(deep),
        "png-palette": png(palette),
        "png-palette-trns": png(palette, transparency=3),
        "png-alpha": png(alpha),
        "png-grey-alpha": png(alpha.convert("LA")),
        "png-rgb-trns": png(image, transparency=image.getpixel((3, 3))),
        "webp": webp(image, quality=80),
        "webp-alpha": webp(alpha, quality=80),
        "webp-lossless": webp(image, lossless=True),
        "webp-lossless-alpha": webp(alpha, lossless=True, exact=True),
        "webp-simple": saved(image, "WEBP") + SECRET,
        "gif": gif(image),
        "gif-transparent": gif(image, transparency=5),
        "gif-interlaced": gif(image, interlace=1),
        "bmp": bmp(image),
        "bmp-grey": bmp(grey),
        "bmp-palette": bmp(palette),
        "bmp-bilevel": bmp(image.convert("1")),
        "bmp-v5": bmp_v5(image),
        "tiff": tiff(image),
        "tiff-lzw": tiff(image, compression="tiff_lzw"),
        "tiff-deflate": tiff(image, compression="tiff_adobe_deflate"),
        "tiff-jpeg": tiff(image, compression="jpeg"),
        "tiff-packbits": tiff(image, compression="packbits"),
        "tiff-group4": tiff(image.convert("1"), compression="group4"),
        "tiff-palette": tiff(palette),
        "tiff-16": tiff(deep),
        "tiff-float": tiff(Image.fromarray(np.asarray(grey, np.float32) / 255)),
        "tiff-cmyk": tiff(image.convert("CMYK")),
        "tiff-alpha": tiff(alpha),
        "tiff-big": saved(image, "TIFF", big_tiff=True, tiffinfo={270: TEXT}, compression="tiff_lzw") + SECRET,
        "avif": avif(image),
        "avif-alpha": avif(alpha),
    }
