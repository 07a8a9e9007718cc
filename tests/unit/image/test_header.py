"""Formats are identified by their bytes, headers are read without decoding, and hostile bytes raise ImageError only."""

from __future__ import annotations

import io
import json
import struct
import subprocess
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from pipeline.errors import ImageError
from pipeline.image.header import (
    ENCODED_ANEW,
    FORMATS,
    SUFFIX,
    Header,
    header_of,
    identify,
    open_image,
    read_header,
)
from pipeline.image.kinds import IMAGE_SUFFIXES
from tests.fakes.exiftool import EXIFTOOL, MISSING

WIDTH, HEIGHT = 53, 37
SAVED = tuple(kind for kind in FORMATS if kind not in ENCODED_ANEW[1:])
"""Formats that Pillow itself writes; the others: tests/unit/image/formats."""
WITH_EXIF = ("JPEG", "PNG", "WEBP", "TIFF", "AVIF")


def picture(mode: str = "RGB", width: int = WIDTH, height: int = HEIGHT) -> Image.Image:
    noise = np.random.default_rng(1).integers(0, 256, (height, width, 3), np.uint8)
    return Image.fromarray(noise).convert(mode)


def encode(image: Image.Image, kind: str, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def exif(orientation: int) -> bytes:
    block = Image.Exif()
    block[0x0112] = orientation
    return block.tobytes()


def png_with(chunk: bytes, payload: bytes, *, behind_pixels: bool) -> bytes:
    data = encode(picture(), "PNG")
    at = data.index(b"IEND" if behind_pixels else b"IDAT") - 4
    body = chunk + payload
    return data[:at] + struct.pack(">I", len(payload)) + body + struct.pack(">I", zlib.crc32(body)) + data[at:]


@pytest.mark.parametrize("kind", SAVED)
def test_the_header_of_every_format(kind: str) -> None:
    header = read_header(encode(picture(), kind))
    assert (header.format, header.width, header.height) == (kind, WIDTH, HEIGHT)
    assert (header.orientation, header.bits, header.frames, header.has_alpha, header.icc) == (1, 8, 1, False, b"")
    assert header.mode == ("P" if kind == "GIF" else "RGB")
    assert header.upright == (HEIGHT, WIDTH)
    assert (header.quantization != ()) == (kind == "JPEG")


def test_every_format_has_a_suffix_that_sources_know() -> None:
    assert set(SUFFIX) == set(FORMATS) - set(ENCODED_ANEW)
    assert set(SUFFIX.values()) <= IMAGE_SUFFIXES


@pytest.mark.parametrize("kind", WITH_EXIF)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_leaves_the_stored_size_and_turns_the_upright_one(kind: str, orientation: int) -> None:
    header = read_header(encode(picture(), kind, exif=exif(orientation)))
    assert header.orientation == orientation
    assert (header.width, header.height) == (WIDTH, HEIGHT)
    assert header.upright == ((WIDTH, HEIGHT) if orientation >= 5 else (HEIGHT, WIDTH))


@pytest.mark.parametrize("orientation", [0, 9, 65535])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_an_orientation_out_of_range_counts_as_upright(kind: str, orientation: int) -> None:
    assert read_header(encode(picture(), kind, exif=exif(orientation))).orientation == 1


@pytest.mark.parametrize(
    "broken",
    [
        b"Exif\0\0",
        b"Exif\0\0garbage",
        b"Exif\0\0II*\0\xff\xff\xff\xff",
        b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12",
        exif(6)[:20],
        b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x02\0\0\0\x04six\0\0\0\0\0",  # text instead of a number
    ],
)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_broken_exif_does_not_cost_the_image(kind: str, broken: bytes) -> None:
    data = encode(picture(), kind, exif=broken)
    assert read_header(data).orientation == 1
    open_image(data).load()


def exif_block(*entries: tuple[int, int, int, bytes], order: str = "<") -> bytes:
    """EXIF with these entries (tag, type, count, four bytes of value)."""
    head = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(order + "IH", 8, len(entries))
    return head + b"".join(struct.pack(order + "HHI", *entry[:3]) + entry[3] for entry in entries) + bytes(4)


def with_segments(*bodies: bytes) -> bytes:
    """A JPEG with these APP1 segments."""
    plain = encode(picture(), "JPEG")
    return plain[:2] + b"".join(b"\xff\xe1" + struct.pack(">H", len(b) + 2) + b for b in bodies) + plain[2:]


BYTE, SHORT, LONG, SIGNED = 1, 3, 4, 8
MAKE = (0x10F, 2, 2, b"A\0\0\0")
XMP_8 = (
    b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta xmlns:x='adobe:ns:meta/'>"
    b"<rdf:RDF xmlns:rdf='http://www.w3.org/1999/02/22-rdf-syntax-ns#'><rdf:Description tiff:Orientation=\"8\" "
    b"xmlns:tiff='http://ns.adobe.com/tiff/1.0/'/></rdf:RDF></x:xmpmeta>"
)


def turned(kind: int, value: int = 6, order: str = "<") -> bytes:
    packed = struct.pack(order + {BYTE: "B3x", SHORT: "H2x", LONG: "I", SIGNED: "h2x"}[kind], value)
    return b"Exif\0\0" + exif_block(MAKE, (0x112, kind, 1, packed), order=order)


FORMS: dict[str, tuple[list[bytes], int]] = {
    "short": ([turned(SHORT)], 6),
    "short_big_endian": ([turned(SHORT, order=">")], 6),
    "long": ([turned(LONG)], 6),
    "signed": ([turned(SIGNED)], 6),
    "byte": ([turned(BYTE)], 6),
    "byte_big_endian": ([turned(BYTE, order=">")], 6),
    "byte_out_of_range": ([turned(BYTE, 9)], 1),
    "first_of_two": ([turned(SHORT), turned(SHORT, 1)], 6),
    "second_of_two": ([b"Exif\0\0" + exif_block(MAKE), turned(SHORT)], 6),
    "second_of_two_bytes": ([b"Exif\0\0" + exif_block(MAKE), turned(BYTE, 3)], 3),
    "second_behind_a_broken_one": ([b"Exif\0\0garbage", turned(SHORT)], 6),
    "third_before_xmp": ([XMP_8, b"Exif\0\0" + exif_block(MAKE), b"Exif\0\0" + exif_block(MAKE), turned(SHORT)], 6),
    "exif_before_xmp": ([XMP_8, turned(SHORT, 1)], 1),
    "xmp_alone": ([XMP_8], 8),
}
"""Name -> APP1 segments, the orientation."""


@pytest.mark.parametrize("name", FORMS)
def test_an_orientation_is_read_in_every_form_that_cameras_write(name: str) -> None:
    segments, orientation = FORMS[name]
    assert read_header(with_segments(*segments)).orientation == orientation


@pytest.mark.skipif(EXIFTOOL is None, reason=MISSING)
def test_exiftool_reads_the_same_orientations(tmp_path: Path) -> None:
    for name, (segments, _) in FORMS.items():
        (tmp_path / name).write_bytes(with_segments(*segments))
    command = [str(EXIFTOOL), "-n", "-j", "-q", "-G0", "-Orientation", *FORMS]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False)
    found = {
        answer["SourceFile"]: answer.get("EXIF:Orientation", answer.get("XMP:Orientation"))
        for answer in json.loads(done.stdout)
    }
    assert found.pop("byte_out_of_range") == 9
    assert found == {name: value for name, (_, value) in FORMS.items() if name != "byte_out_of_range"}


@pytest.mark.parametrize("kind", [BYTE, SHORT, LONG])
def test_a_tiff_is_turned_by_an_orientation_of_any_type(kind: int) -> None:
    """Pillow turns a TIFF while it loads it; of 6, its rows become columns."""
    data = bytearray(encode(picture(), "TIFF", tiffinfo={274: 6}))
    at = data.index(struct.pack("<HHI", 274, SHORT, 1))
    data[at + 2 : at + 4] = struct.pack("<H", kind)
    image = open_image(bytes(data))
    assert header_of(image).orientation == 6
    assert np.array_equal(np.asarray(image), np.rot90(np.asarray(picture()), -1))


@pytest.mark.parametrize("behind_pixels", [False, True])
def test_the_orientation_of_a_png_is_found_wherever_its_chunk_stands(behind_pixels: bool) -> None:
    data = png_with(b"eXIf", exif(8).removeprefix(b"Exif\0\0"), behind_pixels=behind_pixels)
    assert read_header(data).orientation == 8


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "BMP", "GIF"])
def test_a_header_is_read_without_the_pixels(kind: str) -> None:
    data = encode(picture(), kind)
    end = data.index(b"IDAT") + 8 if kind == "PNG" else int(len(data) * 0.9)
    if kind == "TIFF":  # Pillow writes its pixels last, as BMP does
        end = len(data) - WIDTH * HEIGHT
    assert read_header(data[:end]).upright == (HEIGHT, WIDTH)


def test_a_header_of_four_gigapixels_is_read_without_a_warning() -> None:
    data = encode(picture(), "PNG")
    ihdr = b"IHDR" + struct.pack(">IIBBBBB", 65_000, 65_000, 8, 2, 0, 0, 0)
    header = read_header(data[:12] + ihdr + struct.pack(">I", zlib.crc32(ihdr)) + data[33:])
    assert (header.width, header.height) == (65_000, 65_000)


@pytest.mark.parametrize(
    ("options", "tables", "subsampling"),
    [
        ({"quality": 90, "subsampling": 0}, 2, 0),
        ({"quality": 50, "subsampling": 1}, 2, 1),
        ({"quality": 75, "subsampling": 2, "progressive": True}, 2, 2),
        ({"qtables": [list(range(1, 65))]}, 1, 2),
    ],
)
def test_the_quantisation_of_a_jpeg_is_read(options: dict[str, Any], tables: int, subsampling: int) -> None:
    header = read_header(encode(picture(), "JPEG", **options))
    assert header.subsampling == subsampling
    assert len(header.quantization) == tables
    again = read_header(encode(picture(), "JPEG", qtables=header.quantization, subsampling=header.subsampling))
    assert again.quantization == header.quantization
    if "qtables" in options:
        assert header.quantization == (tuple(range(1, 65)),)


def test_a_grey_jpeg_has_one_table_and_no_subsampling() -> None:
    header = read_header(encode(picture("L"), "JPEG"))
    assert (header.mode, len(header.quantization), header.subsampling) == ("L", 1, -1)


veiled = picture()
veiled.putalpha(77)
striped = picture().quantize(4)


@pytest.mark.parametrize(
    ("image", "kind", "options", "expected"),
    [
        (picture("1"), "PNG", {}, ("1", 1, False)),
        (picture("L"), "PNG", {"transparency": 3}, ("L", 8, True)),
        (picture("P"), "PNG", {"transparency": b"\0\x80"}, ("P", 8, True)),
        (picture("LA"), "PNG", {}, ("LA", 8, True)),
        (veiled, "WEBP", {}, ("RGBA", 8, True)),
        (veiled, "TIFF", {}, ("RGBA", 8, True)),
        (striped, "GIF", {"transparency": 0}, ("P", 8, True)),
        (Image.fromarray(np.zeros((4, 4), np.uint16)), "PNG", {}, ("I;16", 16, False)),
        (Image.fromarray(np.zeros((4, 4), np.uint16)), "TIFF", {}, ("I;16", 16, False)),
        (Image.fromarray(np.zeros((4, 4), np.float32)), "TIFF", {}, ("F", 32, False)),
        (picture("1"), "TIFF", {"compression": "group4"}, ("1", 1, False)),
        (picture("CMYK"), "JPEG", {}, ("CMYK", 8, False)),
    ],
)
def test_mode_depth_and_alpha(
    image: Image.Image, kind: str, options: dict[str, Any], expected: tuple[str, int, bool]
) -> None:
    header = read_header(encode(image, kind, **options))
    assert (header.mode, header.bits, header.has_alpha) == expected


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF", "AVIF"])
def test_frames_are_counted(kind: str) -> None:
    others = [picture().rotate(90), picture().rotate(180)]
    assert read_header(encode(picture(), kind, save_all=True, append_images=others)).frames == 3


def test_an_mpo_is_a_jpeg_of_several_pictures() -> None:
    data = encode(picture(), "MPO", save_all=True, append_images=[picture(width=20, height=10)])
    header = read_header(data)
    assert (header.format, header.frames, header.upright) == ("JPEG", 2, (HEIGHT, WIDTH))
    assert np.array_equal(np.asarray(open_image(data)), np.asarray(Image.open(io.BytesIO(encode(picture(), "JPEG")))))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_the_icc_profile_comes_along(kind: str) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert read_header(encode(picture(), kind, icc_profile=profile)).icc == profile


FOREIGN = [
    (encode(picture(), "EPS"), "EPS"),
    (encode(picture(), "PDF"), "PDF"),
    (b"8BPS\0\x01" + bytes(64), "PSD"),
    (b"SIMPLE  =                    T" + bytes(64), "FITS"),
    (b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>', "SVG"),
    (b"\xef\xbb\xbf <svg/>", "SVG"),
    (b"<!DOCTYPE html><title>404</title>", "HTML"),
    (encode(picture(), "ICO"), "ICO"),
    (encode(picture(), "PPM"), "netpbm"),
    (encode(picture(), "DDS"), "DDS"),
    (encode(picture(), "TGA"), "unknown bytes"),
    (b"\0\0\0\x18ftypisom\0\0\0\0isommp42", "MP4"),
    (b"II*\0\x10\0\0\0CR\x02\0" + bytes(32), "CR2"),
    (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS"),
    (b"RIFF\0\0\0\0WAVEfmt ", "WAV"),
    (b"\x1f\x8b\x08", "gzip"),
    (b"\0", "unknown bytes 00"),
]


@pytest.mark.parametrize(("data", "found"), FOREIGN, ids=[found for _, found in FOREIGN])
def test_other_formats_are_refused_by_name_and_reach_no_decoder(data: bytes, found: str) -> None:
    with pytest.raises(ImageError) as caught:
        open_image(data)
    assert caught.value.reason == "format_not_allowed"
    assert found in caught.value.detail
    assert all(kind in caught.value.detail for kind in FORMATS)


@pytest.mark.parametrize(("tag", "value", "found"), [(254, 1, "thumbnail"), (50706, b"\1\4\0\0", "DNG")])
def test_a_raw_file_is_not_read_as_its_thumbnail(tag: int, value: object, found: str) -> None:
    with pytest.raises(ImageError, match=found) as caught:
        read_header(encode(picture(), "TIFF", tiffinfo={tag: value}))
    assert caught.value.reason == "format_not_allowed"


def test_no_bytes_are_empty() -> None:
    with pytest.raises(ImageError) as caught:
        identify(b"")
    assert caught.value.reason == "empty"


@pytest.mark.parametrize("kind", SAVED)
def test_a_magic_without_an_image_is_an_image_error(kind: str) -> None:
    data = encode(picture(), kind)
    for tail in (b"", bytes(64), b"\xff" * 64):
        with pytest.raises(ImageError) as caught:
            read_header(data[:12] + tail)
        assert caught.value.reason in ("undecodable", "truncated")
        assert "0x" not in caught.value.detail  # an address would make two runs differ
        assert "\n" not in caught.value.detail


@pytest.mark.parametrize("kind", SAVED)
def test_damaged_headers_raise_image_errors_only(kind: str) -> None:
    """Warnings are errors here, so none may escape either."""
    data = encode(picture(), kind, **({"exif": exif(3)} if kind in WITH_EXIF else {}))
    rng = np.random.default_rng(7)
    outcomes: set[type] = set()
    for _ in range(150):
        damaged = bytearray(data)
        for at in rng.integers(4, min(len(data), 400), 4):
            damaged[at] = rng.integers(256)
        try:
            outcomes.add(type(read_header(bytes(damaged))))
        except ImageError as error:
            outcomes.add(type(error))
    assert outcomes <= {Header, ImageError}
    assert Header in outcomes
