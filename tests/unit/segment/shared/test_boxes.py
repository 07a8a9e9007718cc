"""Overlap of boxes, and which of several that overlap stay."""

import numpy as np
import pytest

from pipeline.segment.shared.boxes import shared_area, suppress

BOXES = np.array([[0, 0, 10, 10, 0.5], [1, 0, 11, 10, 0.9], [20, 0, 30, 10, 0.3], [6, 0, 16, 10, 0.4]], np.float32)


def test_the_shared_area_is_compared_with_the_union_or_with_the_smaller_box() -> None:
    small = np.array([[2, 2, 5, 5], [8, 8, 12, 12], [20, 20, 30, 30]], np.float32)
    both, union = shared_area(BOXES[0], small)
    assert (both.tolist(), union.tolist()) == ([9, 4, 0], [100, 112, 200])
    both, smaller = shared_area(BOXES[0], small, inner=True)
    assert (both.tolist(), smaller.tolist()) == ([16, 9, 0], [16, 25, 121])


def test_the_best_of_the_boxes_that_overlap_stays() -> None:
    assert suppress(BOXES, 0.3).tolist() == [1, 2]
    assert suppress(BOXES, 0.5).tolist() == [1, 3, 2]
    assert suppress(BOXES[:0], 0.3).tolist() == []


def test_inner_drops_a_box_inside_a_better_one() -> None:
    boxes = np.array([[0, 0, 10, 10, 0.8], [0, 0, 10, 9, 0.9], [2, 2, 5, 5, 0.7], [40, 0, 50, 9, 0.6]], np.float32)
    assert suppress(boxes, 0.7).tolist() == [1, 2, 3]
    assert suppress(boxes, 0.95).tolist() == [1, 0, 2, 3]
    assert suppress(boxes, 0.7, inner=True).tolist() == [1, 3]


@pytest.mark.parametrize(("equal", "kept"), [(False, [0, 1]), (True, [0])])
def test_a_box_that_shares_exactly_as_much_goes_only_with_equal(equal: bool, kept: list[int]) -> None:
    half = np.array([[0, 0, 10, 10, 0.9], [0, 0, 10, 5, 0.8]], np.float32)
    assert suppress(half, 0.5, equal=equal).tolist() == kept
