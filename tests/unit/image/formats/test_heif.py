"""HEIC: pixels, orientation, alpha, profile, several pictures."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageOps

from pipeline.image.header import open_image, read_header
from tests.fakes.format_samples import heic, noise, saved, saved_as_heic
from tests.fakes.metadata_samples import SRGB


def test_pixels_are_those_that_were_coded() -> None:
    picture = noise()
    header = read_header(heic(picture))
    assert (header.format, header.mode, header.bits, header.upright, header.frames) == ("HEIF", "RGB", 8, (37, 53), 1)
    assert np.array_equal(np.asarray(open_image(heic(picture))), picture)
    assert np.array_equal(np.asarray(open_image(heic(picture[..., 0].copy()))), picture[..., 0])


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_is_applied_once(orientation: int) -> None:
    picture = Image.fromarray(noise())
    block = Image.Exif()
    block[0x0112] = orientation
    data = saved_as_heic(picture, exif=block.tobytes())  # written as irot and imir; EXIF says it once more
    turned = Image.open(io.BytesIO(saved(picture, "PNG", exif=block.tobytes())))
    expected = np.asarray(ImageOps.exif_transpose(turned))
    assert (b"irot" in data or b"imir" in data) == (orientation != 1)
    header = read_header(data)
    assert (header.orientation, header.upright) == (1, expected.shape[:2])
    assert np.array_equal(np.asarray(open_image(data)), expected)


def test_alpha_and_profile_come_along() -> None:
    picture = noise(channels=4)
    header = read_header(heic(picture, icc_profile=SRGB))
    assert (header.mode, header.has_alpha, header.icc) == ("RGBA", True, SRGB)
    assert np.array_equal(np.asarray(open_image(heic(picture))), picture)


def test_the_primary_picture_is_the_main_one_and_each_has_its_frame() -> None:
    pictures = [noise(seed=seed) for seed in range(3)]
    data = heic(*pictures, primary_index=1)
    assert read_header(data).frames == 3
    assert np.array_equal(np.asarray(open_image(data)), pictures[1])
    for frame, picture in enumerate(pictures, start=1):  # only the primary one is coded as RGB, without rounding
        assert np.abs(np.asarray(open_image(data, frame)).astype(int) - picture).max() <= 1


def test_a_thumbnail_is_no_frame() -> None:
    assert read_header(heic(noise(200, 300), thumbnails=[64])).frames == 1
