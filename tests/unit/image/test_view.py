"""The windows of every view: what they cover, how large the tiles are, how far they overlap."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from pipeline.image.view import AtLeast, Exact, Fit, Square, Tiles, Window

SIZES = [(1, 1), (1, 4000), (4000, 1), (31, 33), (480, 640), (1000, 1400), (1025, 1023), (3000, 4001)]


def whole(height: int, width: int) -> tuple[float, float, float, float]:
    return (0.0, 0.0, float(width), float(height))


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((1000, 1400), (480, 640)),  # 457.1 up to 480
        ((480, 640), (480, 640)),
        ((100, 50), (128, 64)),  # never enlarged, but rounded up
        ((640, 640), (640, 640)),
        ((1, 4000), (32, 640)),
        ((641, 1282), (320, 640)),  # 320 exactly: floating point must not make it 352
    ],
)
def test_fit_never_enlarges_and_rounds_up(size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert Fit(side=640).windows(*size) == (Window(box=whole(*size), height=expected[0], width=expected[1]),)


@pytest.mark.parametrize("size", SIZES)
def test_fit_stays_within_its_side_and_stretches_by_less_than_the_multiple(size: tuple[int, int]) -> None:
    (window,) = Fit(side=640, multiple=32).windows(*size)
    scale = min(1.0, 640 / max(size))
    for tile, full in zip((window.height, window.width), size, strict=True):
        assert tile % 32 == 0
        assert tile <= 640
        assert 0 <= tile - full * scale < 32


@pytest.mark.parametrize("size", SIZES)
def test_fit_with_multiple_one_keeps_the_longer_side_exact(size: tuple[int, int]) -> None:
    (window,) = Fit(side=256, multiple=1).windows(*size)
    assert max(window.height, window.width) == min(256, max(size))
    assert min(window.height, window.width) >= 1


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((480, 640), (736, 992)),  # 736 x 981.3, to the nearest 32
        ((1000, 1400), (992, 1408)),  # large enough already: only rounded
        ((100, 4000), (64, 1984)),  # the longest side wins: 50 x 2000, and 62.5 rounds to even
        ((1, 1), (736, 736)),
    ],
)
def test_at_least_enlarges_the_shorter_side_up_to_the_longest(size: tuple[int, int], expected: tuple[int, int]) -> None:
    (window,) = AtLeast(side=736, longest=2000).windows(*size)
    assert (window.height, window.width) == expected
    assert window.box == whole(*size)


@pytest.mark.parametrize("size", SIZES)
def test_square_stretches_the_whole_image(size: tuple[int, int]) -> None:
    assert Square(side=320).windows(*size) == (Window(box=whole(*size), height=320, width=320),)
    assert Exact(height=200, width=320).windows(*size) == (Window(box=whole(*size), height=200, width=320),)


@pytest.mark.parametrize("size", [(1, 1), (256, 256), (257, 256), (1000, 1400), (448, 449), (640, 1025)])
@pytest.mark.parametrize(("side", "overlap"), [(256, 0), (256, 64), (256, 200)])
def test_tiles_cover_every_pixel_at_full_scale_and_overlap_enough(
    size: tuple[int, int], side: int, overlap: int
) -> None:
    height, width = size
    windows = Tiles(side=side, overlap=overlap).windows(height, width)
    covered = np.zeros(size, np.uint16)
    for window in windows:
        x, y, wide, high = (int(v) for v in window.box)
        assert (window.height, window.width) == (high, wide) == (min(side, height), min(side, width))
        assert 0 <= x <= width - wide
        assert 0 <= y <= height - high
        covered[y : y + high, x : x + wide] += 1
    assert covered.min() == 1
    for axis in (0, 1):
        starts = sorted({int(window.box[axis]) for window in windows})
        assert all(0 < b - a <= side - overlap for a, b in itertools.pairwise(starts))
    assert len(set(windows)) == len(windows)


def test_tiles_are_in_reading_order_and_no_more_than_needed() -> None:
    windows = Tiles(side=1024, overlap=128).windows(1024, 1920)
    assert [window.box for window in windows] == [(0.0, 0.0, 1024.0, 1024.0), (896.0, 0.0, 1024.0, 1024.0)]
    rows = [window.box[:2] for window in Tiles(side=100, overlap=0).windows(200, 200)]
    assert rows == [(0.0, 0.0), (100.0, 0.0), (0.0, 100.0), (100.0, 100.0)]


def test_an_object_of_the_overlap_lies_wholly_in_one_tile() -> None:
    windows = Tiles(side=256, overlap=64).windows(700, 900)
    for y in range(0, 700 - 64, 7):
        for x in range(0, 900 - 64, 7):
            assert any(
                w.box[0] <= x and w.box[1] <= y and x + 64 <= w.box[0] + w.box[2] and y + 64 <= w.box[1] + w.box[3]
                for w in windows
            )
