"""Polygons give the mask back: exactly at tolerance 0, with their parts and holes at any."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pipeline.export.polygons import covered, joined, overlap, rings_of
from pipeline.image import rle
from tests.fakes.drawn_output import Drawn, mask, pieces

DRAWN = [each for drawn in pieces().values() if isinstance(drawn, list) for each in drawn if each.mask.any()]


def iou(code: bytes, rings: list[np.ndarray], shape: tuple[int, int]) -> float:
    return overlap(code, covered(rings, *shape), *shape)


def filled(rings: list[np.ndarray], shape: tuple[int, int]) -> np.ndarray:
    """As a reader of YOLO does it: coordinates cut to whole pixels, polygons filled with OpenCV."""
    out = np.zeros(shape, np.uint8)
    for ring in rings:
        cv2.fillPoly(out, [ring.astype(np.int32)], 1)
    return out.astype(bool)


@settings(max_examples=60, deadline=None)
@given(arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12)), elements=st.booleans()))
def test_at_tolerance_0_every_mask_comes_back_exactly(drawn: np.ndarray) -> None:
    code, shape = rle.encode(drawn), (drawn.shape[0], drawn.shape[1])
    rings = rings_of(code, *shape, 0)
    if not drawn.any():
        assert rings == []
        return
    assert iou(code, rings, shape) == 1.0
    assert (filled(rings, shape) == drawn).all()


@pytest.mark.parametrize("drawn", DRAWN, ids=range(len(DRAWN)))
@pytest.mark.parametrize("tolerance", [0, 1, 2])
def test_parts_and_holes_of_boxes_are_kept_at_any_tolerance(drawn: Drawn, tolerance: float) -> None:
    height, width = drawn.mask.shape
    code = rle.encode(drawn.mask)
    rings = rings_of(code, height, width, tolerance)
    assert len(rings) == cv2.connectedComponents(drawn.mask.astype(np.uint8))[0] - 1
    assert iou(code, rings, (height, width)) == 1.0
    assert iou(code, [joined(rings)], (height, width)) == 1.0


def test_the_largest_part_comes_first() -> None:
    drawn = mask(40, 40, (0, 0, 3, 3), (10, 10, 20, 20))
    assert len(rings_of(rle.encode(drawn), 40, 40, 0)) == 2
    assert rings_of(rle.encode(drawn), 40, 40, 0)[0].min() > 9


def test_a_disc_loses_little_within_a_pixel_and_more_with_more() -> None:
    y, x = np.mgrid[:200, :200]
    code = rle.encode((np.hypot(y - 100, x - 100) < 80) & (np.hypot(y - 100, x - 100) > 30))
    found = {t: rings_of(code, 200, 200, t) for t in (0.0, 1.0, 4.0)}
    loss = {t: 1 - iou(code, rings, (200, 200)) for t, rings in found.items()}
    assert loss[0.0] == 0 < loss[1.0] < 0.03 < loss[4.0] < 0.1
    assert len(found[4.0][0]) < len(found[1.0][0]) < len(found[0.0][0]) / 4


def test_a_long_ring_with_many_holes_takes_no_gigabytes_and_no_minutes() -> None:
    drawn = np.random.default_rng(0).random((150, 150)) > 0.2
    code = rle.encode(drawn)
    assert iou(code, rings_of(code, 150, 150, 0), (150, 150)) == 1.0


def test_overlap() -> None:
    one, other = rle.encode(mask(4, 4, (0, 0, 2, 4))), rle.encode(mask(4, 4, (1, 0, 2, 4)))
    assert overlap(one, other, 4, 4) == pytest.approx(1 / 3)
    assert overlap(rle.empty(4, 4), rle.empty(4, 4), 4, 4) == 1.0
