"""Pixels of more than 8 bits are read with all of them, in every layout, and rejected where they cannot be."""

from __future__ import annotations

import io
import struct
import zlib
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from pipeline.errors import ImageError
from pipeline.image.decode import Decode
from pipeline.image.deep import Deep, is_deep
from pipeline.image.header import read_header
from pipeline.records import EncodedImage, ImageRef
from tests.fakes.metadata_samples import SRGB, chunk, saved, small

RNG = np.random.default_rng(5)
RGBA = RNG.integers(0, 65536, (30, 41, 4), np.uint16)
RGB, GREY = RGBA[..., :3], RGBA[..., 0]
SHORT = 3


def png(array: NDArray[Any], *extra: bytes) -> bytes:
    """A 16-bit PNG of HW or HWC (2 to 4) numbers, unfiltered, with these chunks behind its header."""
    height, width, channels = (*array.shape, 1)[:3]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in array)
    head = struct.pack(">IIBBBBB", width, height, 16, {1: 0, 2: 4, 3: 2, 4: 6}[channels], 0, 0, 0)
    chunks = (chunk(b"IHDR", head), *extra, chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def tiff(array: NDArray[Any], **options: Any) -> bytes:
    out = io.BytesIO()
    photometric = "rgb" if array.ndim == 3 else "minisblack"
    tifffile.imwrite(out, array, metadata=None, **{"photometric": photometric, **options})
    return out.getvalue()


def deep(data: bytes) -> Deep:
    image = EncodedImage(ref=ImageRef(image_id="a", key="a", member="a"), data=data)
    found = Decode().load().deep(image)
    assert found is not None
    assert is_deep(read_header(data))
    return found


def full(data: bytes) -> NDArray[np.uint8]:
    return Decode().load().full(EncodedImage(ref=ImageRef(image_id="a", key="a", member="a"), data=data)).rgb


# --- PNG -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("extra", [(), (chunk(b"gAMA", struct.pack(">I", 45455)), chunk(b"sRGB", b"\0"))])
def test_png_colours_and_alpha(extra: tuple[bytes, ...]) -> None:
    found = deep(png(RGBA, *extra, chunk(b"iCCP", b"x\0\0" + zlib.compress(SRGB))))
    np.testing.assert_array_equal(found.values, RGB)
    np.testing.assert_array_equal(found.alpha, RGBA[..., 3])
    assert (found.opaque, str(found.levels)) == (65535, "levels 0..65535 (type)")
    assert deep(png(RGB)).alpha.shape == (0, 0)
    np.testing.assert_array_equal(deep(png(RGB)).values, RGB)
    grey = deep(png(RGBA[..., :2]))
    np.testing.assert_array_equal(grey.values, np.repeat(RGBA[..., :1], 3, 2))
    np.testing.assert_array_equal(grey.alpha, RGBA[..., 1])
    np.testing.assert_array_equal(deep(png(GREY)).values, GREY)


def test_a_png_with_wrong_checksums_or_without_its_end() -> None:
    data = png(RGB, *[chunk(b"gAMA", struct.pack(">I", 45455))] * 2)
    at = data.index(b"IEND")
    for odd in (data[: at - 4], data[: at - 8] + bytes(4) + data[at - 4 :]):
        np.testing.assert_array_equal(deep(odd).values, RGB)


def test_one_transparent_colour_or_grey_of_a_png() -> None:
    colour, grey = tuple(map(int, RGB[3, 4])), int(GREY[3, 4])
    found = deep(png(RGB, chunk(b"tRNS", struct.pack(">HHH", *colour))))
    np.testing.assert_array_equal(found.values, RGB)
    np.testing.assert_array_equal(found.alpha, np.where(np.equal(RGB, colour).all(-1), 0, 65535))
    found = deep(png(GREY, chunk(b"tRNS", struct.pack(">H", grey))))
    np.testing.assert_array_equal(found.values, GREY)
    np.testing.assert_array_equal(found.alpha, np.where(grey == GREY, 0, 65535))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pngs_and_tiffs_are_upright(orientation: int) -> None:
    exif = b"MM\0*\0\0\0\x08\0\1\1\x12\0\3\0\0\0\1" + struct.pack(">HHI", orientation, 0, 0)
    picture = Image.fromarray(GREY.astype(np.uint8))
    expected = tiff(GREY, extratags=[(274, SHORT, 1, orientation, True)])
    upright = deep(expected).values  # grey, turned by Pillow
    assert picture.size == (41, 30)
    for data in (
        png(RGB, chunk(b"eXIf", exif)),
        tiff(RGB, extratags=[(274, SHORT, 1, orientation, True)]),
        tiff(np.moveaxis(RGB, 2, 0), planarconfig="separate", extratags=[(274, SHORT, 1, orientation, True)]),
    ):
        np.testing.assert_array_equal(deep(data).values[..., 0], upright)
        np.testing.assert_array_equal(full(data)[..., 0], np.rint(upright / 257))


@pytest.mark.parametrize(
    ("bits", "sbit", "levels"),
    [
        (10, b"\x0a", "levels 0..1023 (declared)"),
        (9, b"\x0c", "levels 0..4095 (declared)"),
        (12, b"", "levels 0..4095 (used)"),
        (16, b"\x0c", "levels 0..65535 (type)"),
        (12, b"\x10", "levels 0..4095 (used)"),
    ],
)
def test_the_significant_bits_of_a_png_count_if_they_hold_all_numbers(bits: int, sbit: bytes, levels: str) -> None:
    for array in (GREY, RGB, RGBA[..., :2]):
        channels = 1 if array.ndim == 2 else array.shape[2]
        few = array >> (16 - bits)
        few.flat[0] = (1 << bits) - 1
        assert str(deep(png(few, chunk(b"sBIT", sbit * channels) if sbit else b"")).levels) == levels


# --- TIFF ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("planes", [False, True])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"rowsperstrip": 7},
        {"tile": (16, 16)},
        {"compression": "zlib"},
        {"compression": "zlib", "predictor": True, "rowsperstrip": 4},
        {"compression": "zlib", "predictor": True, "tile": (16, 32)},
    ],
)
@pytest.mark.parametrize("bits", [16, 12, 10])
def test_every_layout_of_colours(options: dict[str, Any], planes: bool, order: str, bits: int) -> None:
    few = RGB >> (16 - bits)
    array = np.moveaxis(few, 2, 0) if planes else few
    data = tiff(array, planarconfig="separate" if planes else "contig", byteorder=order, **options)
    found = deep(data)
    np.testing.assert_array_equal(found.values, few)
    assert found.levels.white == (1 << bits) - 1
    np.testing.assert_array_equal(full(data), np.rint(few * (255 / ((1 << bits) - 1))))


@pytest.mark.parametrize("compression", ["tiff_lzw", "packbits", "zstd", "tiff_adobe_deflate"])
def test_every_codec_of_planes(compression: str) -> None:
    """Each plane coded by libtiff, then put together."""
    from pipeline.image.strip import tiff as container

    parts = [saved(Image.fromarray(RGB[..., i]), "TIFF", compression=compression) for i in range(3)]
    pages = [container._first_page(part) for part in parts]
    pieces = [
        piece
        for part, (o, page) in zip(parts, pages, strict=True)
        for piece in container._pieces(part, o, page, tiled=False)
    ]
    order, page = pages[0]
    fields = {tag: field for tag, field in page.items() if tag not in (273, 279, 282, 283, 296)}
    fields |= {258: container.field(order, 3, 16, 16, 16), 262: container.field(order, 3, 2)}
    fields |= {277: container.field(order, 3, 3), 284: container.field(order, 3, 2)}
    np.testing.assert_array_equal(deep(container.write(order, fields, pieces, tiled=False)).values, RGB)


@pytest.mark.parametrize("planes", [False, True])
def test_alpha_of_a_tiff(planes: bool) -> None:
    array = np.moveaxis(RGBA, 2, 0) if planes else RGBA
    options = {"planarconfig": "separate" if planes else "contig"}
    found = deep(tiff(array, extrasamples=["unassalpha"], **options))
    np.testing.assert_array_equal(found.values, RGB)
    np.testing.assert_array_equal(found.alpha, RGBA[..., 3])
    whole = (RGB / 65535) * (RGBA[..., 3:] / 65535) * 65535
    stored = np.dstack([np.rint(whole), RGBA[..., 3]]).astype(np.uint16)
    associated = tiff(np.moveaxis(stored, 2, 0) if planes else stored, extrasamples=["assocalpha"], **options)
    found = deep(associated)
    np.testing.assert_array_equal(found.alpha, RGBA[..., 3])
    seen = RGBA[..., 3] > 20000  # where few were divided by, the rest is lost
    assert np.abs(found.values[seen].astype(int) - RGB[seen]).max() <= 2
    unspecified = deep(tiff(array, extrasamples=["unspecified"], **options))
    np.testing.assert_array_equal(unspecified.values, RGB)
    assert unspecified.alpha.shape == (0, 0)


def test_alpha_of_few_bits_is_opaque_at_their_end() -> None:
    few = RGBA >> 4
    few[..., 3] = 4095
    found = deep(png(few))
    assert (found.opaque, found.levels.white) == (4095, 4095)
    np.testing.assert_array_equal(full(png(few)), np.rint(few[..., :3] * (255 / 4095)))
    few[..., 3] = 65535
    assert deep(png(few)).opaque == 65535
    np.testing.assert_array_equal(full(png(few)), np.rint(few[..., :3] * (255 / 4095)))


@pytest.mark.parametrize("planes", [False, True])
def test_a_big_tiff(planes: bool) -> None:
    data = tiff(
        np.moveaxis(RGB, 2, 0) if planes else RGB, planarconfig="separate" if planes else "contig", bigtiff=True
    )
    np.testing.assert_array_equal(deep(data).values, RGB)


@pytest.mark.parametrize("kind", ["<u2", ">u2", "<i2", ">i2", "<i4", ">i4", "<u4", "<f4", ">f4"])
def test_grey_of_any_type_keeps_its_numbers(kind: str) -> None:
    dtype = np.dtype(kind).newbyteorder("=")
    lowest, highest = (0, 1) if dtype.kind == "f" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    values: NDArray[Any] = np.linspace(lowest, highest, 1230).reshape(30, 41).astype(dtype)
    found = deep(tiff(values, byteorder=kind[0]))
    np.testing.assert_array_equal(found.values, values)
    assert found.values.dtype == dtype


def test_a_declared_range_of_colours_counts() -> None:
    extra = [(340, SHORT, 3, (100, 100, 100), True), (341, SHORT, 3, (4000, 4000, 4000), True)]
    found = deep(tiff(RGB >> 4, extratags=extra))
    assert (str(found.levels), found.declared) == ("levels 100..4000 (declared)", (100, 4000))


# --- what is no deep image, and what cannot be read --------------------------------------------------------------


def test_eight_bits_have_no_deep_pixels() -> None:
    for fmt in ("PNG", "TIFF", "JPEG", "WEBP", "AVIF", "BMP", "GIF"):
        image = EncodedImage(ref=ImageRef(image_id="a", key="a", member="a"), data=saved(small(), fmt))
        assert Decode().load().deep(image) is None


def test_a_damaged_file_is_an_image_error_at_any_byte() -> None:
    files = (png(RGB), tiff(RGB, compression="zlib"), tiff(np.moveaxis(RGB, 2, 0), planarconfig="separate"))
    for data in files:
        for length in range(40, len(data) - 12, len(data) // 23):
            with pytest.raises(ImageError):
                deep(data[:length])
        for at in range(60, len(data) - 16, len(data) // 31):
            broken = bytearray(data)
            broken[at] ^= 0xFF
            with suppress(ImageError):  # nothing else may be raised
                deep(bytes(broken))


def test_signed_colours_are_rejected() -> None:
    with pytest.raises(ImageError, match=r"unsupported_mode|undecodable"):
        deep(tiff(RGB.view(np.int16), photometric="rgb"))


# --- filled, flattened -------------------------------------------------------------------------------------------


def mask() -> NDArray[np.bool_]:
    inside = np.zeros((30, 41), np.bool_)
    inside[8:20, 10:30] = True
    return inside


@pytest.mark.parametrize("bits", [16, 12, 10])
def test_a_fill_changes_no_number_outside_the_region(bits: int) -> None:
    rgb = RNG.integers(0, 256, (30, 41, 3), np.uint8)
    source = deep(tiff(RGB >> (16 - bits)))
    made = source.filled(rgb, mask())
    np.testing.assert_array_equal(made.values[~mask()], source.values[~mask()])
    shown, _ = made.to_8_bits()
    np.testing.assert_array_equal(shown[mask()], rgb[mask()])
    assert (source.values == RGB >> (16 - bits)).all()


def test_grey_stays_grey_until_a_fill_has_colours() -> None:
    source = deep(tiff(GREY >> 4))
    grey = source.filled(np.full((30, 41, 3), 77, np.uint8), mask())
    assert grey.values.shape == (30, 41)
    assert (grey.values[mask()] == round(77 * 4095 / 255)).all()
    colour = source.filled(np.full((30, 41, 3), (7, 80, 200), np.uint8), mask())
    assert colour.values.shape == (30, 41, 3)
    np.testing.assert_array_equal(colour.values[~mask()], np.repeat(source.values[~mask()][:, None], 3, 1))


def test_white_is_zero_is_filled_in_its_own_numbers() -> None:
    source = deep(tiff(GREY, photometric="miniswhite"))
    made = source.filled(np.full((30, 41, 3), 255, np.uint8), mask())
    assert (made.values[mask()] == 0).all()


def test_flattening_hides_what_is_under_alpha() -> None:
    array = RGBA.copy()
    array[:10, :, 3], array[10:, :, 3] = 0, 65535
    made = deep(png(array)).flattened()
    assert made.alpha.shape == (0, 0)
    assert (made.values[:10] == 65535).all()
    np.testing.assert_array_equal(made.values[10:], RGB[10:])
    half = array.copy()
    half[..., 3] = 32768
    mixed = deep(png(half)).flattened().values
    assert np.abs(mixed - (RGB * (32768 / 65535) + 65535 * (32767 / 65535))).max() <= 0.5
