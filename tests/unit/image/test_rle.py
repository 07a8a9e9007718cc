"""The codec against pycocotools and brute force, on drawn masks and on random ones of every small size."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools import mask as coco

from pipeline.errors import ImageError
from pipeline.image import rle

sizes = st.tuples(st.integers(1, 9), st.integers(1, 9))
masks = arrays(np.bool_, sizes)


def reference(mask: np.ndarray) -> bytes:
    counts: bytes = coco.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"]
    return counts


def test_a_drawn_mask_has_the_area_box_and_counts_that_were_drawn() -> None:
    mask = np.zeros((4, 3), bool)
    mask[1:3, 1] = True
    code = rle.encode(mask)
    # Columns of 4: five outside (4 + 1), two inside, five outside; a character is its number + 48.
    assert code == b"525"
    assert rle.area(code, 4, 3) == 2
    assert rle.box(code, 4, 3) == (1.0, 1.0, 1.0, 2.0)


@given(masks)
def test_decode_undoes_encode_and_the_counts_are_those_of_pycocotools(mask: np.ndarray) -> None:
    height, width = mask.shape
    code = rle.encode(mask)
    assert code == reference(mask) == rle.encode_at(mask, height, width, x=0, y=0)
    np.testing.assert_array_equal(rle.decode(code, height, width), mask)
    assert rle.area(code, height, width) == mask.sum()


@given(masks)
def test_box_is_the_smallest_around_the_mask(mask: np.ndarray) -> None:
    y, x = np.nonzero(mask)
    expected = (x.min(), y.min(), np.ptp(x) + 1, np.ptp(y) + 1) if len(x) else (0, 0, 0, 0)
    assert rle.box(rle.encode(mask), *mask.shape) == expected


@given(masks, sizes, st.integers(-10, 10), st.integers(-10, 10))
def test_encode_at_places_a_crop_and_cuts_what_lies_outside(
    crop: np.ndarray, size: tuple[int, int], x: int, y: int
) -> None:
    height, width = size
    canvas = np.zeros((height + 40, width + 40), bool)
    canvas[20 + y : 20 + y + crop.shape[0], 20 + x : 20 + x + crop.shape[1]] = crop
    full = canvas[20 : 20 + height, 20 : 20 + width]
    code = rle.encode_at(crop, height, width, x=x, y=y)
    assert code == reference(full)
    assert rle.extent_at(crop, height, width, x=x, y=y) == (rle.area(code, height, width), rle.box(code, height, width))


@given(masks, st.data())
def test_decode_at_is_a_slice_of_decode(mask: np.ndarray, data: st.DataObject) -> None:
    height, width = mask.shape
    y, x = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    h, w = data.draw(st.integers(1, height - y)), data.draw(st.integers(1, width - x))
    part = rle.decode_at(rle.encode(mask), height, width, x=x, y=y, crop_height=h, crop_width=w)
    np.testing.assert_array_equal(part, mask[y : y + h, x : x + w])


def test_decode_at_refuses_a_part_that_is_not_inside() -> None:
    with pytest.raises(ValueError, match="not inside an image of 3x4"):
        rle.decode_at(rle.empty(4, 3), 4, 3, x=1, y=0, crop_height=4, crop_width=3)


@given(arrays(np.bool_, st.tuples(st.integers(0, 4), st.just(5), st.just(7))))
def test_union_is_inside_any(stack: np.ndarray) -> None:
    code = rle.union([rle.encode(m) for m in stack], 5, 7)
    np.testing.assert_array_equal(rle.decode(code, 5, 7), stack.any(axis=0) if len(stack) else np.zeros((5, 7), bool))


@given(masks, st.integers(0, 6))
def test_dilate_holds_exactly_the_pixels_within_the_radius(mask: np.ndarray, radius: int) -> None:
    height, width = mask.shape
    inside = np.argwhere(mask)
    every = np.argwhere(np.ones_like(mask))
    near = ((every[:, None] - inside[None]) ** 2).sum(-1).min(-1, initial=10**6) <= radius**2
    grown = rle.dilate(rle.encode(mask), height, width, radius)
    np.testing.assert_array_equal(rle.decode(grown, height, width), near.reshape(height, width))


def test_dilate_by_nothing_and_of_nothing_changes_nothing() -> None:
    code = rle.encode(np.eye(6, dtype=bool))
    assert rle.dilate(code, 6, 6, 0) == code
    assert rle.dilate(rle.empty(6, 6), 6, 6, 3) == rle.empty(6, 6)
    with pytest.raises(ValueError, match="at least 0, got -1"):
        rle.dilate(code, 6, 6, -1)


def test_dilate_of_a_large_disc_keeps_its_exact_width_at_any_place() -> None:
    height, width, radius = 400, 900, 120
    dot = rle.encode_at(np.ones((1, 1), bool), height, width, x=880, y=200)
    assert rle.box(rle.dilate(dot, height, width, radius), height, width) == (760.0, 80.0, 140.0, 241.0)


def test_a_small_mask_in_a_huge_image_is_cheap() -> None:
    # 40,000 x 40,000 pixels would be 1.6 GB as an array: only the part is ever made.
    side = 40_000
    code = rle.dilate(rle.encode_at(np.ones((50, 60), bool), side, side, x=100, y=200), side, side, 5)
    assert rle.box(code, side, side) == (95.0, 195.0, 70.0, 60.0)


@pytest.mark.parametrize("code", [b"", b"525", b"zzz", b"5\xff", b"o"])
def test_counts_of_another_size_and_rubbish_are_refused(code: bytes) -> None:
    for use in (rle.decode, rle.area, rle.box, lambda c, h, w: rle.union([c], h, w)):
        with pytest.raises(ImageError, match="bad_mask: expected"):
            use(code, 40, 30)


@given(arrays(np.uint16, sizes, elements=st.sampled_from([0, 1, 2, 65_535])))
def test_a_map_of_numbers_is_the_mask_of_each(ids: np.ndarray) -> None:
    height, width = ids.shape
    found = list(rle.encode_map(ids))
    assert [number for number, *_ in found] == np.unique(ids).tolist()
    for number, code, area, box in found:
        assert code == rle.encode(ids == number)
        assert (area, box) == rle.extent_at(ids == number, height, width, x=0, y=0)


def test_a_map_without_noise_is_the_mask_of_each_number() -> None:
    ids = np.zeros((200, 300), np.uint16)
    ids[20:90, 30:200], ids[50:, 100:], ids[:, 299] = 7, 3, 7
    for number, code, area, box in rle.encode_map(ids):
        assert code == rle.encode(ids == number)
        assert (area, box) == rle.extent_at(ids == number, 200, 300, x=0, y=0)
