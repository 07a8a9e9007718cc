import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import ImageError
from pipeline.fill.blur import Blur
from pipeline.fill.none import NoFill
from pipeline.fill.shared.crops import GREY, MIN_MARGIN, cut, mean, parts
from pipeline.fill.solid import Solid
from pipeline.image import rle
from pipeline.records import Mask, Pixels, Region, Segment, seed_of
from tests.fakes.fill_samples import crops_of, photograph

SECRET = np.array([255, 0, 255], np.uint8)


def box(height: int, width: int, *boxes: tuple[int, int, int, int]) -> Mask:
    mask = np.zeros((height, width), bool)
    for top, left, bottom, right in boxes:
        mask[top:bottom, left:right] = True
    return mask


@st.composite
def masks(draw: st.DrawFn) -> Mask:
    height, width = draw(st.integers(1, 400)), draw(st.integers(1, 400))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    mask = rng.random((height, width)) < draw(st.sampled_from([0.0, 0.0003, 0.01, 0.6]))
    for _ in range(draw(st.integers(0, 6))):
        top, left = rng.integers(0, height), rng.integers(0, width)
        mask[top : top + rng.integers(1, 120), left : left + rng.integers(1, 120)] = True
    mask[rng.integers(0, height), rng.integers(0, width)] = True
    return mask


@settings(max_examples=60, deadline=None)
@given(mask=masks(), context=st.sampled_from([0.0, 0.3, 2.0]))
def test_every_pixel_of_the_region_is_in_exactly_one_crop(mask: Mask, context: float) -> None:
    rgb = np.full((*mask.shape, 3), 7, np.uint8)
    rgb[mask] = SECRET
    times = np.zeros(mask.shape, int)
    for crop in crops_of(rgb, mask, Solid(context=context)):
        height, width = crop.mask.shape
        here = np.s_[crop.y : crop.y + height, crop.x : crop.x + width]
        assert crop.pixels.shape == (height, width, 3)
        assert crop.mask.any()
        times[here] += crop.mask
        assert (crop.known == ~mask[here]).all()
        assert (crop.pixels[crop.known] == 7).all()
        assert not (crop.pixels == SECRET).all(axis=-1).any()
    assert (times == mask).all()


def test_a_part_has_its_context_where_the_image_has_it() -> None:
    (crop,) = crops_of(np.zeros((300, 400, 3), np.uint8), box(300, 400, (100, 20, 140, 120)), Solid(context=0.5))
    assert (crop.x, crop.y, crop.mask.shape) == (0, 50, (140, 170))
    (crop,) = crops_of(np.zeros((300, 400, 3), np.uint8), box(300, 400, (100, 200, 102, 204)), Solid(context=0.5))
    assert crop.mask.shape == (2 + 2 * MIN_MARGIN, 4 + 2 * MIN_MARGIN)


def test_near_parts_share_a_crop_and_far_ones_do_not() -> None:
    near = box(600, 600, (10, 10, 30, 80), (34, 12, 50, 80), (500, 500, 590, 590))
    first, second = crops_of(np.zeros((600, 600, 3), np.uint8), near, Solid())
    assert first.mask.sum() == 20 * 70 + 16 * 68
    assert second.mask.sum() == 90 * 90
    assert (first.seed, second.seed) == (seed_of("a", 0), seed_of("a", 1))


def test_a_crop_does_not_fill_the_part_of_another_one_but_does_not_see_it_either() -> None:
    mask = box(800, 500, (140, 10, 160, 310), (100, 355, 700, 365))
    rgb = np.full((800, 500, 3), 50, np.uint8)
    rgb[mask] = SECRET
    crops = crops_of(rgb, mask, Solid(context=0.2))
    assert len(crops) == 2
    left = min(crops, key=lambda c: c.x)
    assert (~left.known).sum() > left.mask.sum()
    assert (left.pixels == 50).all()


def test_blanked_with_the_mean_of_the_known_and_grey_when_nothing_is_known() -> None:
    rgb = np.zeros((40, 40, 3), np.uint8)
    rgb[:, 20:] = [101, 0, 3]
    rgb[:, 10:30] = SECRET
    mask = box(40, 40, (0, 10, 40, 30))
    (crop,) = crops_of(rgb, mask, Solid())
    assert (crop.pixels[mask] == [51, 0, 2]).all()  # 50.5 and 1.5, rounded up
    (crop,) = crops_of(rgb, np.ones((40, 40), bool), Solid())
    assert not crop.known.any()
    assert (crop.pixels == GREY).all()


def test_only_a_reversible_fill_sees_the_pixels() -> None:
    rgb = photograph("chelsea.png")
    mask = box(*rgb.shape[:2], (50, 50, 150, 200))
    (crop,) = crops_of(rgb, mask, Blur(allow_reversible=True))
    height, width = crop.mask.shape
    assert (crop.pixels == rgb[crop.y : crop.y + height, crop.x : crop.x + width]).all()


def test_nothing_to_fill_is_no_crop() -> None:
    rgb = np.zeros((9, 9, 3), np.uint8)
    assert crops_of(rgb, np.zeros((9, 9), bool), Solid()) == ()
    assert crops_of(rgb, np.ones((9, 9), bool), NoFill()) == ()


def test_a_region_of_another_image_is_refused() -> None:
    region = Region(image_id="a", height=3, width=4, rle=b"0", area=12, chosen=())
    with pytest.raises(ImageError, match=r"wrong_shape.*4x3"):
        cut(Pixels(rgb=np.zeros((4, 3, 3), np.uint8), alpha=np.zeros((0, 0), np.uint8)), region, Solid())


def test_a_crop_has_the_labels_of_the_chosen_segments_in_it_the_largest_first() -> None:
    marks = {"person": (20, 20, 80, 60), "bag": (70, 60, 90, 70), "sky": (5, 300, 15, 390), "car": (250, 300, 290, 380)}
    masks = {label: box(300, 400, place) for label, place in marks.items()}
    segments = tuple(
        Segment(label=label, class_id=0, score=1, rle=b"", box=rle.box(code, 300, 400), area=area, model="m")
        for label, code, area in ((label, rle.encode(mask), int(mask.sum())) for label, mask in masks.items())
    )
    region = rle.dilate(rle.encode(masks["person"] | masks["bag"] | masks["car"]), 300, 400, 3)
    area = rle.area(region, 300, 400)
    asked = Region(image_id="a", height=300, width=400, rle=region, area=area, chosen=(0, 1, 3))
    pixels = Pixels(rgb=np.zeros((300, 400, 3), np.uint8), alpha=np.zeros((0, 0), np.uint8))
    assert [crop.labels for crop in cut(pixels, asked, Solid(context=0.1), segments)] == [("person", "bag"), ("car",)]
    assert [crop.labels for crop in cut(pixels, asked, Solid(context=0.1))] == [(), ()]


def test_thousands_of_parts_are_a_few_crops_in_a_moment() -> None:
    mask = np.zeros((2000, 2000), bool)
    for step in range(20):
        mask[5 + step % 5 :: 20, 5 + step % 4 :: 20] = True  # 10,000 dots
    rgb = np.zeros((2000, 2000, 3), np.uint8)
    started = time.process_time()
    crops = crops_of(rgb, mask, Solid())
    assert time.process_time() - started < 5
    assert len(crops) < 100


def test_a_small_part_of_a_large_image_costs_little() -> None:
    mask = box(6000, 8000, (3000, 4000, 3100, 4080))
    rgb = np.zeros((6000, 8000, 3), np.uint8)
    region = Region(image_id="a", height=6000, width=8000, rle=rle.encode(mask), area=8000, chosen=(0,))
    pixels = Pixels(rgb=rgb, alpha=np.zeros((0, 0), np.uint8))
    started = time.process_time()
    (crop,) = cut(pixels, region, Solid())
    assert time.process_time() - started < 0.3
    assert (crop.x, crop.y) == (4000 - MIN_MARGIN, 3000 - MIN_MARGIN)


def test_parts_are_eight_connected_and_grow_inside_the_crop_only() -> None:
    mask = np.zeros((10, 10), bool)
    mask[0, 0] = mask[1, 1] = mask[9, 5] = True
    first, second = parts(mask)
    assert (first.mask == np.eye(2, dtype=bool)).all()
    assert (second.top, second.left, second.side) == (9, 5, 1)
    wide = second.grown(2, 10, 10)
    assert (wide.top, wide.left, wide.mask.shape, wide.mask.sum()) == (7, 3, (3, 5), 1)
    assert wide.of(mask).shape == (3, 5)
    assert (wide.of(mask) == wide.mask).all()


def test_the_mean_is_exact() -> None:
    pixels = np.array([[[0, 1, 255], [1, 2, 255]]], np.uint8)
    assert mean(pixels, np.ones((1, 2), bool)).tolist() == [1, 2, 255]
    assert mean(pixels, np.zeros((1, 2), bool)).tolist() == [GREY] * 3
