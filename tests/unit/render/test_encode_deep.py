"""Pixels of more than 8 bits are written with their own numbers, as independent readers see them."""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageOps

from pipeline.image.header import open_image, read_header
from pipeline.image.strip import strip
from pipeline.records import Patch
from tests.fakes import metadata_samples
from tests.fakes.filled_images import FILL, disc, item, one, rendered, swapped_profile

GAMMA = metadata_samples.chunk(b"gAMA", (45455).to_bytes(4, "big"))
DEEP = np.random.default_rng(8).integers(0, 65536, (90, 121, 3), np.uint16)


def tiff_of(array: np.ndarray, **options: Any) -> bytes:
    out = io.BytesIO()
    kind = "rgb" if array.ndim == 3 else "minisblack"
    tifffile.imwrite(out, array, metadata=None, description=metadata_samples.TEXT, **{"photometric": kind, **options})
    return out.getvalue()


def png_of_deep(array: np.ndarray) -> bytes:
    data = cv2.imencode(".png", array[..., ::-1] if array.ndim == 3 else array)[1].tobytes()
    return data[:33] + metadata_samples.chunk(b"tEXt", b"a\0" + metadata_samples.SECRET) + data[33:]


def planes_of(array: np.ndarray) -> bytes:
    if array.ndim == 2:
        return tiff_of(array)
    return tiff_of(np.moveaxis(array, 2, 0), planarconfig="separate", photometric="rgb")


def numbers(data: bytes) -> np.ndarray:
    """As independent readers see them: tifffile, OpenCV."""
    if data[:2] == b"II":
        return np.asarray(tifffile.imread(io.BytesIO(data)))
    array = np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED))
    return array[..., [2, 1, 0, 3][: array.shape[2]]] if array.ndim == 3 else array


@pytest.mark.parametrize("private", [False, True])
@pytest.mark.parametrize("bits", [16, 14, 12, 10])
@pytest.mark.parametrize("grey", [False, True])
@pytest.mark.parametrize("make", [png_of_deep, tiff_of, planes_of])
def test_outside_the_region_every_number_stays(
    make: Callable[[np.ndarray], bytes], grey: bool, bits: int, private: bool
) -> None:
    source = (DEEP[..., 0] if grey else DEEP) >> (16 - bits)
    data = make(source)
    mask = disc(90, 121)
    colour = (60, 60, 60) if grey else tuple(FILL)
    patch = Patch(x=0, y=0, pixels=np.full((90, 121, 3), colour, np.uint8), mask=mask)
    result = rendered(item(data, mask, patches=(patch,)), private=private)
    assert metadata_samples.SECRET in data
    assert metadata_samples.SECRET not in one(result)
    seen = numbers(one(result))
    assert seen.dtype == np.uint16
    np.testing.assert_array_equal(seen[~mask], source[~mask])
    wanted = np.rint(np.array(colour[0] if grey else colour) * (((1 << bits) - 1) / 255))
    assert (seen[mask] == wanted).all()
    assert result.detail == ("" if bits == 16 else f"levels 0..{(1 << bits) - 1} (used)")
    assert strip(one(result), read_header(one(result)), keep_icc=True) == one(result)  # as the audit looks


def test_grey_numbers_become_colours_where_a_fill_has_colours() -> None:
    mask = disc(90, 121)
    for data in (png_of_deep(DEEP[..., 0]), tiff_of(DEEP[..., 0])):
        seen = numbers(one(rendered(item(data, mask))))
        np.testing.assert_array_equal(seen[~mask], np.repeat(DEEP[..., :1], 3, 2)[~mask])
        assert (seen[mask] == FILL.astype(int) * 257).all()


@pytest.mark.parametrize("dtype", [np.float32, np.int16, np.int32, np.uint32])
def test_floats_and_wide_numbers_keep_their_type_as_tiff(dtype: type) -> None:
    highest = 1.0 if dtype == np.float32 else float(np.iinfo(dtype).max)
    source: np.ndarray = np.linspace(0, highest, 90 * 121).reshape(90, 121).astype(dtype)
    mask = disc(90, 121)
    patch = Patch(x=0, y=0, pixels=np.full((90, 121, 3), 255, np.uint8), mask=mask)
    seen = numbers(one(rendered(item(tiff_of(source), mask, patches=(patch,)))))
    assert seen.dtype == dtype
    np.testing.assert_array_equal(seen[~mask], source[~mask])
    assert (seen[mask] == np.array(highest, dtype)).all()
    eight = rendered(item(tiff_of(source), mask))  # colours in a grey TIFF of another type: no reader takes them
    assert eight.detail.endswith("written with 8 bits")
    assert numbers(one(eight)).dtype == np.uint8


@pytest.mark.parametrize("region", [False, True])
def test_sixteen_bits_with_alpha(region: bool) -> None:
    rgba = np.dstack([DEEP, np.full((90, 121), 65535, np.uint16)])
    rgba[:20, :, 3], rgba[20:25, :, 3] = 0, 30000
    data = cv2.imencode(".png", rgba[..., [2, 1, 0, 3]])[1].tobytes()
    mask = disc(90, 121, y=22)
    open_run = numbers(one(rendered(item(data, mask if region else None))))
    keep = ~mask if region else np.ones_like(mask)
    np.testing.assert_array_equal(open_run[keep], rgba[keep])
    if region:
        assert (open_run[mask] == [*(FILL.astype(int) * 257), 65535]).all()
    private = numbers(one(rendered(item(data, mask if region else None), private=True)))
    assert private.shape == (90, 121, 3)
    assert (private[:20][keep[:20]] == 65535).all()
    np.testing.assert_array_equal(private[25:][keep[25:]], DEEP[25:][keep[25:]])


@pytest.mark.parametrize("orientation", range(2, 9))
def test_an_orientation_is_baked_into_numbers(orientation: int) -> None:
    for array in (DEEP, DEEP[..., 0]):
        data = tiff_of(array, extratags=[(274, 3, 1, orientation, True)])
        picture = Image.fromarray((DEEP[..., 0] >> 8).astype(np.uint8))
        picture.getexif()[0x0112] = orientation
        seen = numbers(one(rendered(item(data))))
        upright = np.asarray(ImageOps.exif_transpose(picture))
        np.testing.assert_array_equal((seen if seen.ndim == 2 else seen[..., 0]) >> 8, upright)
        assert read_header(one(rendered(item(data)))).orientation == 1


def test_a_png_of_sixteen_bits_that_cannot_be_cut_keeps_its_numbers() -> None:
    data = png_of_deep(DEEP >> 4)
    data = data[:33] + GAMMA + GAMMA + data[33:-12]
    result = rendered(item(data))
    assert result.detail.startswith("levels 0..4095 (used); encoded anew: malformed_png")
    np.testing.assert_array_equal(numbers(one(result)), DEEP >> 4)


def test_declared_levels_are_declared_again() -> None:
    mask = disc(90, 121)
    tags = [(340, 3, 3, (0, 0, 0), True), (341, 3, 3, (4095, 4095, 4095), True)]
    for source in (DEEP >> 4, DEEP >> 6):
        result = rendered(item(tiff_of(source, extratags=tags), mask))
        assert result.detail == "levels 0..4095 (declared)"
        page = open_image(one(result)).tag_v2  # type: ignore[attr-defined]
        assert (page[340], page[341]) == ((0, 0, 0), (4095, 4095, 4095))
        data = png_of_deep(source)
        data = data[:33] + metadata_samples.chunk(b"sBIT", b"\x0c\x0c\x0c") + data[33:]
        result = rendered(item(data, mask))
        assert result.detail == "levels 0..4095 (declared)"
        assert metadata_samples.chunk(b"sBIT", b"\x0c\x0c\x0c") in one(result)
        np.testing.assert_array_equal(numbers(one(result))[~mask], source[~mask])


def test_a_profile_stays_with_sixteen_bits_and_a_conversion_takes_eight() -> None:
    data = png_of_deep(DEEP)
    with_profile = data[:33] + metadata_samples.chunk(b"iCCP", b"x\0\0" + zlib.compress(swapped_profile())) + data[33:]
    mask = disc(90, 121)
    kept = one(rendered(item(with_profile, mask)))
    assert read_header(kept).icc == swapped_profile()
    assert read_header(kept).bits == 16
    converted = rendered(item(with_profile, mask), icc="srgb")
    assert (converted.detail, read_header(one(converted)).bits) == ("written with 8 bits", 8)
    grey = tiff_of(DEEP[..., 0], iccprofile=metadata_samples.SRGB)
    patch = Patch(x=0, y=0, pixels=np.full((90, 121, 3), 9, np.uint8), mask=mask)
    assert read_header(one(rendered(item(grey, mask, patches=(patch,))))).icc == b""  # of other channels


def test_the_resolution_of_sixteen_bits_stays() -> None:
    mask = disc(90, 121)
    data = png_of_deep(DEEP)
    density = metadata_samples.chunk(b"pHYs", (11811).to_bytes(4, "big") + (5906).to_bytes(4, "big") + b"\1")
    tiff = tiff_of(DEEP, resolution=(300, 150), resolutionunit="INCH")
    for given in (data[:33] + density + data[33:], tiff):
        found = open_image(one(rendered(item(given, mask)))).info["dpi"]
        assert np.abs(np.subtract(found, (300, 150))).max() < 0.1
        private = open_image(one(rendered(item(given, mask), private=True)))
        assert private.info.get("dpi", (1, 1)) == (1, 1)  # which Pillow says of a TIFF without
