"""JPEG XL: the header's size is right before libjxl sees the file, pixels, orientation, depth, animations."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageOps

from pipeline.errors import ImageError
from pipeline.image.decode import Decode
from pipeline.image.formats.jxl import codestream
from pipeline.image.header import open_image, read_header
from pipeline.records import EncodedImage, ImageRef
from tests.fakes.format_samples import jxl, jxl_of_jpeg, noise, saved


def pixels(data: bytes) -> NDArray[Any]:
    image = open_image(data)
    image.load()  # until then its mode is not known
    return np.asarray(image)


SIZES = [(1, 1), (8, 264), (37, 53), (64, 64), (48, 64), (256, 256), (90, 160), (3, 1000), (1080, 1920), (8200, 600)]


@pytest.mark.parametrize("size", SIZES)
def test_the_size_is_read_before_anything_is_decoded(size: tuple[int, int]) -> None:
    picture = np.full((*size, 3), 7, np.uint8)
    assert open_image(jxl(picture)).size == size[::-1]


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_pixels_are_those_that_were_coded(channels: int) -> None:
    picture = noise(channels=channels)
    header = read_header(jxl(picture))
    assert (header.format, header.mode, header.bits) == ("JXL", ("L", "LA", "RGB", "RGBA")[channels - 1], 8)
    assert (header.upright, header.has_alpha) == ((37, 53), channels in (2, 4))
    assert np.array_equal(pixels(jxl(picture)), picture)


def test_sixteen_bits_and_floats_keep_their_levels() -> None:
    deep = noise(channels=1).astype(np.uint16) * 257
    assert read_header(jxl(deep)).bits == 16
    assert np.array_equal(pixels(jxl(deep)), deep)
    real = noise(channels=1).astype(np.float32) / 255
    assert np.array_equal(pixels(jxl(real)), real)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_packed_jpeg_is_upright(orientation: int) -> None:
    block = Image.Exif()
    block[0x0112] = orientation
    picture = Image.fromarray(np.kron(noise(5, 7), np.ones((8, 8, 1), np.uint8)))
    jpeg = saved(picture, "JPEG", exif=block.tobytes(), quality=95)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(jpeg)))).astype(int)
    data = jxl_of_jpeg(jpeg, *picture.size)
    assert b"jbrd" in data
    header = read_header(data)
    assert (header.orientation, header.upright) == (1, expected.shape[:2])
    assert np.abs(pixels(data) - expected).mean() < 1.5


def test_metadata_boxes_do_not_reach_the_decoder() -> None:
    data = jxl(noise(), exif=b"II*\0\x08\0\0\0\0\0", xmp=b"<x:xmpmeta/>")
    assert b"xmpmeta" in data
    assert codestream(data)[:2] == b"\xff\x0a"
    assert b"xmpmeta" not in codestream(data)
    assert set(open_image(data).info) == set()


def header(width: int, height: int, *, animated: bool = False) -> bytes:
    """The first bits of a codestream (ISO 18181-1, annex D): both sides in 30 bits, then the metadata."""
    bits = "0" + f"{3:02b}"[::-1] + f"{height - 1:030b}"[::-1] + "000" + f"{3:02b}"[::-1] + f"{width - 1:030b}"[::-1]
    bits += "01" + "000" + "00" + ("1" if animated else "0")  # fields of its own, extra ones, upright, no other sizes
    bits += "0" * (-len(bits) % 8 + 64)
    return b"\xff\x0a" + bytes(int(bits[at : at + 8][::-1], 2) for at in range(0, len(bits), 8))


def test_an_animation_is_refused_by_name() -> None:
    with pytest.raises(ImageError, match="animated JPEG XL") as caught:
        open_image(header(64, 48, animated=True))
    assert caught.value.reason == "many_frames"
    assert open_image(header(64, 48)).size == (64, 48)


def test_a_bomb_is_rejected_by_its_header() -> None:
    image = EncodedImage(ref=ImageRef(image_id="a", key="a", member="a"), data=header(60_000, 60_000))
    with pytest.raises(ImageError) as caught:
        Decode().load().full(image)
    assert caught.value.reason == "too_many_pixels"
