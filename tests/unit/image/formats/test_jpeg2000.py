"""JPEG 2000: pixels of every mode and depth, white stays white, the profile."""

from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from pipeline.errors import ImageError
from pipeline.image.decode import Decode
from pipeline.image.header import open_image, read_header
from pipeline.records import EncodedImage, ImageRef
from tests.fakes.format_samples import DEEP, DEEP_JPEG2000, noise, saved
from tests.fakes.metadata_samples import SRGB


def full(data: bytes) -> NDArray[np.uint8]:
    return Decode().load().full(EncodedImage(ref=ImageRef(image_id="a", key="a", member="a"), data=data)).rgb


@pytest.mark.parametrize("options", [{}, {"no_jp2": True}, {"tile_size": (16, 16)}])
@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_pixels_are_those_that_were_coded(mode: str, options: dict[str, Any]) -> None:
    picture = Image.fromarray(noise(channels=4)).convert(mode)
    data = saved(picture, "JPEG2000", **options)
    header = read_header(data)
    assert (header.format, header.mode, header.bits, header.orientation) == ("JPEG2000", mode, 8, 1)
    assert np.array_equal(np.asarray(open_image(data)), np.asarray(picture))


def test_grey_of_16_bits_is_scaled_by_its_range() -> None:
    ramp = np.linspace(0, 65535, 64).astype(np.uint16)[None].repeat(16, 0)
    data = saved(Image.fromarray(ramp), "JPEG2000")
    assert read_header(data).bits == 16
    assert np.array_equal(full(data)[..., 0], np.rint(ramp / 257))


@pytest.mark.parametrize("channels", [3, 4])
def test_colours_of_12_bits_keep_their_white(channels: int) -> None:
    data = DEEP_JPEG2000[channels]
    assert np.asarray(Image.open(io.BytesIO(data)))[0, 3, 0] == 0  # what Pillow makes of white
    assert read_header(data).mode == ("RGB" if channels == 3 else "RGBA")
    pixels = np.asarray(open_image(data))
    for channel, values in enumerate((DEEP, DEEP[::-1], DEEP // 2, [2048] * 4)[:channels]):
        assert (pixels[..., channel] == np.rint(np.asarray(values) * 255.0 / 4095)).all()


def test_a_truncated_deep_file_is_rejected() -> None:
    data = DEEP_JPEG2000[3]
    for stop in range(len(data) - 2):  # of the end marker both decoders do without
        with pytest.raises(ImageError):
            full(data[:stop])


def test_signed_colours_of_12_bits_are_refused() -> None:
    data = bytearray(DEEP_JPEG2000[3])
    data[42] |= 0x80
    with pytest.raises(ImageError) as caught:
        full(bytes(data))
    assert caught.value.reason == "unsupported_mode"


def test_the_profile_of_the_file_is_read() -> None:
    data = saved(Image.fromarray(noise()), "JPEG2000")
    at = data.index(b"colr") - 4
    (size,) = struct.unpack_from(">I", data, at)
    profile = struct.pack(">I4sBBB", 11 + len(SRGB), b"colr", 2, 0, 0) + SRGB
    outer = data.index(b"jp2h") - 4
    (length,) = struct.unpack_from(">I", data, outer)
    grown = struct.pack(">I", length - size + len(profile))
    changed = data[:outer] + grown + data[outer + 4 : at] + profile + data[at + size :]
    assert read_header(changed).icc == SRGB
    assert read_header(data).icc == b""
    assert np.array_equal(full(changed), full(data))
