"""Boxes of EfficientDet: an answer of zeros is the anchor, boxes of one class suppress each other, others do not."""

import numpy as np
import pytest

from pipeline.errors import ImageError
from pipeline.segment.shared.efficientdet import SIDE, decode

COUNT = 9 * sum((SIDE // stride) ** 2 for stride in (8, 16, 32, 64)) + 9 * 3**2
FIRST_OF_LAST = COUNT - 9 * 3**2 + 9 * 4
"""The cell in the middle of the coarsest level, whose centre is at 192, 192."""


def answer(*likely: tuple[int, int, float]) -> tuple[np.ndarray, np.ndarray]:
    """Zeros but for (anchor, class, probability)."""
    classes = np.zeros((COUNT, 4), np.float32)
    for anchor, number, probability in likely:
        classes[anchor, number] = probability
    return classes, np.zeros((COUNT, 4), np.float32)


def test_an_answer_of_zeros_is_the_anchor() -> None:
    rows, classes = decode(*answer((0, 2, 0.9)), score=0.5, nms=0.5, most=9)
    assert classes == [2]
    np.testing.assert_allclose(rows[0], [0, 0, 16 / SIDE, 16 / SIDE, 0.9], atol=1e-6)  # 24 pixels around 4, 4, cut


def test_offsets_are_relative_to_the_anchor() -> None:
    classes, boxes = answer((FIRST_OF_LAST, 0, 0.9))
    boxes[FIRST_OF_LAST] = [-0.1, 0.0, np.log(0.25), np.log(0.5)]  # y, x, height, width
    ((left, top, right, bottom, _),), _ = decode(classes, boxes, score=0.5, nms=0.5, most=9)
    assert (right - left) * SIDE == pytest.approx(192)
    assert (bottom - top) * SIDE == pytest.approx(96)
    assert (left + right) / 2 * SIDE == pytest.approx(192)
    assert (top + bottom) / 2 * SIDE == pytest.approx(192 - 38.4)


def test_boxes_suppress_those_of_their_class_only() -> None:
    near = answer((0, 1, 0.7), (1, 1, 0.8), (2, 3, 0.6), (FIRST_OF_LAST, 1, 0.5), (9, 0, 0.1))
    rows, classes = decode(*near, score=0.4, nms=0.3, most=9)
    assert classes == [1, 3, 1]
    assert rows[:, 4].tolist() == pytest.approx([0.8, 0.6, 0.5])
    assert decode(*near, score=0.4, nms=0.3, most=1)[1] == [1]
    assert decode(*near, score=0.9, nms=0.3, most=9)[0].shape == (0, 5)


def test_numbers_that_are_not_finite_are_refused() -> None:
    classes, boxes = answer((0, 0, 0.9))
    boxes[5] = np.nan
    with pytest.raises(ImageError, match=r"nan_scores|not finite"):
        decode(classes, boxes, score=0.5, nms=0.5, most=9)
