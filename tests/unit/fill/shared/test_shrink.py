import cv2
import numpy as np
import pytest

from pipeline.fill.shared.shrink import enlarge, shrink
from tests.fakes.fill_samples import ellipse, photograph


def test_what_is_not_known_is_not_mixed_in() -> None:
    pixels = np.full((40, 80, 3), 255, np.uint8)
    known = np.zeros((40, 80), bool)
    known[:, :43] = True
    pixels[known] = [10, 20, 30]
    small, there = shrink(pixels, known, 20)
    assert small.shape == (10, 20, 3)
    assert there.shape == (10, 20)
    assert there[:, :10].all()
    assert not there[:, 10:].any()  # the block of columns 40 to 43 holds one that is not known
    assert (small[:, :11] == [10, 20, 30]).all()


def test_a_smaller_crop_is_left_alone() -> None:
    pixels, known = np.zeros((9, 5, 3), np.uint8), np.ones((9, 5), bool)
    small, there = shrink(pixels, known, 9)
    assert small is pixels
    assert there is known


def test_a_single_known_pixel_is_not_lost() -> None:
    pixels = np.full((64, 64, 3), 200, np.uint8)
    known = np.zeros((64, 64), bool)
    known[33, 5] = True
    pixels[33, 5] = [1, 2, 3]
    small, there = shrink(pixels, known, 16)
    assert there.sum() == 1
    assert small[there].tolist() == [[1, 2, 3]]


def test_a_large_crop_is_shrunk_in_bands_as_at_one_time(monkeypatch: pytest.MonkeyPatch) -> None:
    picture = photograph("astronaut.png")
    known = ~ellipse(512, 512, 222, 118, 52, 70)
    whole, sure = shrink(picture, known, 100)
    monkeypatch.setattr("pipeline.fill.shared.shrink.BAND", 7 * 512)
    banded, also = shrink(picture, known, 100)
    assert (sure == also).all()
    assert np.abs(whole[sure].astype(int) - banded[sure]).max() <= 1


def test_what_is_not_known_takes_the_enlarged_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.fill.shared.shrink.BAND", 7 * 400)
    small = photograph("astronaut.png")[:37, :50]
    known = ~ellipse(290, 400, 200, 140, 150, 90)
    large = np.zeros((290, 400, 3), np.uint8)
    enlarge(small, large, known)
    right = cv2.resize(small, (400, 290), interpolation=cv2.INTER_LINEAR)
    assert (large[known] == 0).all()
    assert np.abs(large[~known].astype(int) - right[~known]).max() <= 1
