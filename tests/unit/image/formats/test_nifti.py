"""NIfTI: slices of volumes, one window for all, plain and in gzip."""

from __future__ import annotations

import gzip
import struct
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.errors import ImageError
from pipeline.image.header import open_image, read_header, undecodable
from tests.fakes.format_samples import nifti

VOLUME = np.arange(20 * 31 * 5, dtype=np.int16).reshape(20, 31, 5)


def shown(values: NDArray[Any], low: float, high: float) -> NDArray[np.float64]:
    return np.asarray(np.rint(np.clip((values - low) / (high - low), 0, 1) * 255), np.float64)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("second", [False, True])
def test_each_slice_is_shown_between_the_percentiles_of_the_file(packed: bool, second: bool) -> None:
    data = nifti(VOLUME, packed=packed, second=second)
    header = read_header(data)
    assert (header.format, header.mode, header.upright, header.frames) == ("NIFTI", "L", (31, 20), 5)
    low, high = np.percentile(VOLUME, (1, 99))
    for number in range(5):
        picture = np.asarray(open_image(data, number + 1))
        assert np.array_equal(picture, shown(VOLUME[:, :, number].T, low, high))


def test_the_range_of_the_header_goes_first_and_slope_and_intercept_count() -> None:
    data = nifti(VOLUME, cal_min=100, cal_max=1000, scl_slope=0.5, scl_inter=-10)
    assert np.array_equal(np.asarray(open_image(data, 2)), shown(VOLUME[:, :, 1].T * 0.5 - 10, 100, 1000))


def test_volumes_follow_each_other_and_a_plane_is_one_picture() -> None:
    films = np.arange(4 * 6 * 2 * 3, dtype=np.uint8).reshape(4, 6, 2, 3)
    data = nifti(films, cal_min=0, cal_max=255)
    assert read_header(data).frames == 6
    assert np.array_equal(np.asarray(open_image(data, 4)), films[:, :, 1, 1].T)
    assert read_header(nifti(films[:, :, 0, 0])).frames == 1


def test_nan_is_black_and_a_file_of_nan_is_rejected() -> None:
    real = VOLUME.astype(np.float32)
    real[3, 4] = np.nan
    picture = np.asarray(open_image(nifti(real, cal_min=0, cal_max=3099), 1))
    assert picture[4, 3] == 0
    assert np.array_equal(np.delete(picture, 4, 0), np.delete(shown(VOLUME[:, :, 0].T, 0, 3099), 4, 0))
    with pytest.raises(ImageError) as caught, undecodable("voxels"):
        open_image(nifti(np.full((4, 4, 1), np.nan, np.float32))).load()
    assert caught.value.reason == "not_finite"


def test_colours_stay() -> None:
    colours = np.random.default_rng(0).integers(0, 256, (6, 5, 2, 3), np.uint8)
    voxels = colours.view([("R", "u1"), ("G", "u1"), ("B", "u1")]).reshape(6, 5, 2)
    data = nifti(voxels)
    assert read_header(data).mode == "RGB"
    assert np.array_equal(np.asarray(open_image(data, 2)), colours[:, :, 1].transpose(1, 0, 2))


def test_complex_numbers_and_too_many_voxels_are_refused() -> None:
    with pytest.raises(ImageError) as caught:
        open_image(nifti(np.zeros((4, 4, 1), np.complex64)))
    assert caught.value.reason == "unsupported_mode"
    data = nifti(np.zeros((4, 4, 1), np.uint8))
    large = data[:40] + struct.pack("<8h", 3, 30000, 30000, 5, 1, 1, 1, 1) + data[56:]
    with pytest.raises(ImageError) as caught:
        open_image(gzip.compress(large))
    assert caught.value.reason == "too_many_pixels"


@pytest.mark.parametrize("packed", [False, True])
def test_a_cut_or_damaged_file_is_rejected(packed: bool) -> None:
    data = nifti(VOLUME, packed=packed)
    with pytest.raises(ImageError) as caught, undecodable("voxels"):
        open_image(data[:-9]).load()
    assert caught.value.reason == "truncated"
    if packed:  # gzip has a checksum
        wrong = bytearray(data)
        wrong[-6] ^= 1
        with pytest.raises(ImageError), undecodable("voxels"):
            open_image(bytes(wrong)).load()
