"""A seam is a step, missing and foreign texture, to the last digit; its order is that of HaarPSI."""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest

from pipeline.records import Mask, Rgb
from pipeline.render.seam import FLOOR, RING, seam
from tests.fakes.planted_holes import HOLES, OURS, PHOTOS, PlantedFill, planted_fills

SIZE = 64


def box(*, top: int = 20, left: int = 24, bottom: int = 40, right: int = 44, size: int = SIZE) -> Mask:
    mask = np.zeros((size, size), np.bool_)
    mask[top:bottom, left:right] = True
    return mask


def grey(values: np.ndarray[tuple[int, ...], np.dtype[np.integer]]) -> Rgb:
    return np.repeat(values.astype(np.uint8)[..., None], 3, axis=2)


def flat(value: int = 100) -> Rgb:
    return np.full((SIZE, SIZE, 3), value, np.uint8)


def ramp(step: int) -> Rgb:
    """Brighter by `step` a column; rows are alike."""
    return grey(np.tile(np.arange(SIZE) * step, (SIZE, 1)))


def test_a_gradient_that_goes_on_cannot_be_seen() -> None:
    assert seam(ramp(4), box()) == 1.0
    assert seam(ramp(1), box()) == 1.0  # below the floor


@pytest.mark.parametrize(("height", "expected"), [(1, 1.0), (7, math.sqrt(7 / FLOOR)), (100, math.sqrt(100 / FLOOR))])
def test_a_step_on_flat_ground_is_the_root_of_its_height_over_the_floor(height: int, expected: float) -> None:
    picture = flat()
    picture[box()] += np.uint8(height)
    assert seam(picture, box()) == round(expected, 4)


DEEP_SHARE = 16 * 16 / (20 * 20)
"""Of `box()`."""


def test_a_step_on_stripes_is_compared_with_the_stripes() -> None:
    stripes = grey(np.tile(np.where(np.arange(SIZE) % 2, 120, 100), (SIZE, 1)))
    stripes[box()] = 200
    # Columns are 20 apart, rows alike: the ring's mean is 10. The border's rows see 100 and 80 in turn above and below
    # the box, 20 pairs each: 90. Left is column 23 (120, 80 away), right is column 44 (100, 100 away): 90 as well. The
    # inside is flat: the floor, a fifth of the ring's texture.
    assert seam(stripes, box()) == round(math.sqrt(9.0) * 5**DEEP_SHARE, 4)


def board(low: int, high: int) -> Rgb:
    rows, columns = np.indices((SIZE, SIZE))
    return grey(np.where((rows + columns) % 2, low, high))


def test_missing_texture_counts_by_the_share_that_is_deep_inside() -> None:
    picture = board(90, 110)  # direct neighbours are 20 apart
    picture[box()] = 100  # 10 away from every neighbour: the border is no step
    assert seam(picture, box()) == round((20 / FLOOR) ** DEEP_SHARE, 4)
    assert seam(board(90, 110), box()) == 1.0


def test_a_thin_stroke_has_no_texture_to_miss() -> None:
    picture, stroke = board(90, 110), box(top=20, left=10, bottom=24, right=54)
    picture[stroke] = 100
    assert seam(picture, stroke) == 1.0


def test_foreign_texture_counts_from_twice_that_of_the_ring() -> None:
    picture = flat()
    picture[box()] = board(100, 120)[box()]  # 20 apart inside; across the border 0 and 20 in turn
    assert seam(picture, box()) == math.sqrt(10 / FLOOR * 20 / (2 * FLOOR))
    assert seam(np.where(box()[..., None], board(98, 102), flat()), box()) == 1.0  # 4 is twice the floor


def test_the_mean_is_over_the_channels() -> None:
    picture = flat()
    picture[box(), 1] += np.uint8(30)
    assert seam(picture, box()) == round(math.sqrt(10 / FLOOR), 4)


def test_what_is_far_away_does_not_count() -> None:
    picture = flat()
    picture[box()] += np.uint8(40)
    before = seam(picture, box())
    noisy = np.random.default_rng(5).integers(0, 256, picture.shape).astype(np.uint8)
    far = ~box(top=20 - RING, left=24 - RING, bottom=40 + RING, right=44 + RING)
    picture[far] = noisy[far]
    assert seam(picture, box()) == before == round(math.sqrt(40 / FLOOR), 4)
    ring = ~far & ~box(top=19, left=23, bottom=41, right=45)
    picture[ring] = noisy[ring]
    assert seam(picture, box()) > 2 * before  # the flat inside now misses the ring's texture


def test_nothing_filled_and_everything_filled_have_no_border() -> None:
    picture = np.random.default_rng(1).integers(0, 256, (SIZE, SIZE, 3)).astype(np.uint8)
    assert seam(picture, np.zeros((SIZE, SIZE), np.bool_)) == 0.0
    assert seam(picture, np.ones((SIZE, SIZE), np.bool_)) == 0.0
    assert seam(picture[:1, :1], np.ones((1, 1), np.bool_)) == 0.0


def test_where_no_ring_is_left_only_the_border_counts() -> None:
    picture = board(90, 110)
    all_but_one_column = np.ones((SIZE, SIZE), np.bool_)
    all_but_one_column[:, 0] = False
    picture[:, 0], picture[:, 1] = 50, 100
    assert seam(picture, all_but_one_column) == 5.0


@pytest.mark.parametrize(("top", "left"), [(0, 0), (0, 44), (44, 0), (44, 44), (0, 30)])
def test_at_the_border_of_the_picture(top: int, left: int) -> None:
    picture, mask = flat(), box(top=top, left=left, bottom=top + 20, right=left + 20)
    picture[mask] += np.uint8(32)
    assert seam(picture, mask) == 4.0


@pytest.mark.parametrize(("row", "column"), [(30, 30), (0, 0), (63, 63), (0, 31)])
def test_a_single_pixel(row: int, column: int) -> None:
    picture, mask = flat(), np.zeros((SIZE, SIZE), np.bool_)
    mask[row, column] = True
    picture[mask] += np.uint8(18)
    assert seam(picture, mask) == 3.0


def test_parts_count_together_by_the_length_of_their_borders() -> None:
    small, large = box(top=4, left=4, bottom=9, right=9), box(top=30, left=30, bottom=45, right=45)
    picture = flat()
    picture[small] += np.uint8(72)
    assert seam(picture, small | large) == math.sqrt(72 * 20 / (20 + 60) / FLOOR)


def test_a_window_of_the_picture_is_seen_as_the_whole() -> None:
    """The result depends on the surroundings only, not on where the region lies or how the array is laid out."""
    picture = np.random.default_rng(2).integers(0, 256, (SIZE, SIZE, 3)).astype(np.uint8)
    once = seam(picture, box())
    wide = np.zeros((200, 300, 3), np.uint8)
    mask = np.zeros((200, 300), np.bool_)
    wide[100:164, 200:264], mask[100:164, 200:264] = picture, box()
    assert seam(wide, mask) == seam(np.asfortranarray(wide), np.asfortranarray(mask)) == once
    assert once == round(once, 4)


def rank_correlation(fills: Sequence[PlantedFill]) -> float:
    """Spearman's, of seam and HaarPSI: negative where a better fill has the smaller seam."""
    seams, likeness = ([seam(f.rgb, f.mask) for f in fills], [f.haarpsi for f in fills])
    return float(np.corrcoef(pd.Series(seams).rank(), pd.Series(likeness).rank())[0, 1])


def test_the_order_of_planted_fills_is_that_of_haarpsi() -> None:
    fills = planted_fills()
    assert len(fills) == len(PHOTOS) * HOLES * (len(OURS) + 7)
    assert rank_correlation(fills) < -0.65
    assert rank_correlation([fill for fill in fills if fill.kind in (*OURS, "original")]) < -0.8


def test_a_perfect_fill_is_never_listed_for_review_and_a_bad_one_is() -> None:
    seams = {kind: [seam(f.rgb, f.mask) for f in planted_fills() if f.kind == kind] for kind in KINDS}
    assert max(seams["original"]) < 2.5
    assert max(seams["generative"]) < 3
    assert min(seams["solid grey"]) > 3
    medians = [float(np.median(seams[kind])) for kind in KINDS]
    assert medians == sorted(medians)


KINDS = ("original", "generative", "diffuse", "blurred, sigma 3", "blurred, sigma 10", "solid mean", "solid grey")
"""From good to bad."""
