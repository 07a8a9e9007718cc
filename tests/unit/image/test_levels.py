"""Black and white of pixels of more than 8 bits: as declared, else as used, and nothing dark by mistake."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pipeline.errors import ImageError
from pipeline.image.levels import Levels, levels_of, scale, unscale

UINT16 = (0.0, 65535.0)
INT16 = (-32768.0, 32767.0)
UINT32 = (0.0, 2.0**32 - 1)


def used(values: np.ndarray, of_type: tuple[float, float] = UINT16, **more: Any) -> tuple[float, float, str]:
    found = levels_of(values, of_type=of_type, **more)
    return found.black, found.white, found.origin


def ramp(highest: int, dtype: type = np.uint16, lowest: int = 0) -> np.ndarray:
    return np.linspace(lowest, highest, 48 * 64).round().astype(dtype).reshape(48, 64)


@pytest.mark.parametrize(
    ("highest", "white", "origin"),
    [
        (0, 255, "used"),
        (255, 255, "used"),
        (300, 1023, "used"),
        (1023, 1023, "used"),
        (1300, 4095, "used"),
        (4095, 4095, "used"),
        (4500, 16383, "used"),
        (16383, 16383, "used"),
        (17000, 65535, "type"),
        (65535, 65535, "type"),
    ],
)
def test_integers_use_the_smallest_of_8_10_12_and_14_bits_that_holds_them(
    highest: int, white: int, origin: str
) -> None:
    assert used(ramp(highest)) == (0, white, origin)
    assert used(np.dstack([ramp(highest)] * 3)) == (0, white, origin)


def test_wide_and_signed_integers_use_few_bits_too() -> None:
    assert used(ramp(65535, np.uint32), UINT32) == (0, 65535, "used")
    assert used(ramp(1 << 19, np.uint32), UINT32) == (0, (1 << 20) - 1, "used")
    assert used(ramp(1 << 30, np.uint32), UINT32) == (*UINT32, "type")
    assert used(ramp(3071, np.int16, -1024), INT16) == (-8192, 8191, "used")
    assert used(ramp(2047, np.int16, -1024), INT16) == (-2048, 2047, "used")
    assert used(ramp(2000, np.int16), INT16) == (0, 4095, "used")
    assert used(ramp(30000, np.int16, -30000), INT16) == (*INT16, "type")


def test_a_few_hot_pixels_do_not_blacken_the_rest_and_a_small_face_does_count() -> None:
    values = np.full((400, 500), 3000, np.uint16)
    values.flat[:100] = 65535
    assert used(values) == (0, 4095, "used")
    assert scale(values, 0, 4095).max() == 255
    values.flat[100] = 65535
    assert used(values) == (*UINT16, "type")
    small = np.full((30, 40), 3000, np.uint16)
    small.flat[:1] = 65535
    assert used(small) == (0, 4095, "used")
    small.flat[:2] = 65535
    assert used(small) == (*UINT16, "type")


def test_a_declared_range_counts_unless_it_says_nothing() -> None:
    assert used(ramp(900), declared=(0.0, 4095.0)) == (0, 4095, "declared")
    assert used(ramp(900), declared=(100.0, 800.0)) == (100, 800, "declared")
    assert used(ramp(900), declared=UINT16) == (0, 1023, "used")


def test_white_may_be_zero() -> None:
    assert used(ramp(4095), white_is_zero=True) == (4095, 0, "used")
    assert scale(ramp(4095), 4095, 0)[0, 0] == 255


@pytest.mark.parametrize(("highest", "fine"), [(1.0, True), (0.07, True), (0.06, False), (0.001, False)])
def test_floats_are_scaled_by_their_range_or_rejected(highest: float, fine: bool) -> None:
    values = np.linspace(0, highest, 64, dtype=np.float32).reshape(8, 8)
    if fine:
        assert used(values, (0.0, 1.0)) == (0, 1, "type")
    else:
        with pytest.raises(ImageError, match=r"out_of_range.*0\.\.1, got 0\.\.0\.0"):
            levels_of(values, of_type=(0.0, 1.0))
        assert used(values, (0.0, 1.0), declared=(0.0, 0.5)) == (0, 0.5, "declared")


def test_a_flat_image_is_fine_at_any_level() -> None:
    for value in (0.0, 0.01, 0.5):
        assert used(np.full((8, 8), value, np.float32), (0.0, 1.0)) == (0, 1, "type")
    assert (scale(np.full((20, 20), 0.5), 0, 1) == 128).all()


def test_a_few_strays_are_clipped() -> None:
    values = np.full((20, 20), 0.5)
    values[0, :4] = 1.7  # one hundredth
    assert scale(values, 0, 1).max() == 255
    values[0, 4] = -0.7
    with pytest.raises(ImageError, match="out_of_range"):
        scale(values, 0, 1)


@pytest.mark.parametrize("dtype", [np.uint16, np.int16, ">u2"])
@pytest.mark.parametrize(("black", "white"), [(0, 65535), (0, 4095), (4095, 0), (-2048, 2047), (100, 3000)])
def test_sixteen_bits_are_scaled_as_all_numbers_are(dtype: Any, black: int, white: int) -> None:
    """By a table, to the same levels."""
    lowest, highest = max(min(black, white), 0), min(max(black, white), 32767)
    values = ramp(highest, np.int64, lowest)
    np.testing.assert_array_equal(scale(values.astype(dtype), black, white), scale(values, black, white))
    strays = values.copy()
    strays[:2] = 32767 if black != 0 or white != 65535 else 0
    if strays.max() > max(black, white):
        for kind in (dtype, np.int64):
            with pytest.raises(ImageError, match="out_of_range"):
                scale(strays.astype(kind), black, white)


@pytest.mark.parametrize(("black", "white"), [(0.0, 65535.0), (0.0, 4095.0), (4095.0, 0.0), (0.0, 1.0)])
def test_numbers_of_levels_become_the_levels_again(black: float, white: float) -> None:
    levels = np.arange(256, dtype=np.uint8)
    dtype = np.dtype(np.float32 if white == 1 else np.uint16)
    np.testing.assert_array_equal(scale(unscale(levels, black, white, dtype), black, white), levels)


def test_levels_are_told_in_words() -> None:
    assert str(Levels(black=0, white=4095, origin="used")) == "levels 0..4095 (used)"
