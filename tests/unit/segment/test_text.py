"""Text regions as rapidocr finds them in the same photographs, and drawn captions that are covered."""

import json

import cv2
import numpy as np
import pytest

from pipeline.errors import ConfigError, ImageError
from pipeline.segment import text
from pipeline.segment.text import grown, mean_inside, smallest_rectangle
from tests.fakes.segmenter_views import NanNetwork, check_records, loaded, masks_of, overlap, spec_of, view_of
from tests.golden.make import HERE, PHOTOS, photo

BROKEN = NanNetwork(lambda height, width: [(1, height, width)])
GOLDEN = json.loads((HERE / "text.json").read_text())["text"]


def drawn(quads: list[list[list[int]]], height: int, width: int) -> np.ndarray:
    masks = np.zeros((len(quads), height, width), np.uint8)
    for mask, quad in zip(masks, quads, strict=True):
        cv2.fillPoly(mask, [np.array(quad, np.int32)], 1)
    return masks > 0


@pytest.mark.slow
@pytest.mark.parametrize("name", PHOTOS)
def test_the_same_regions_as_rapidocr(name: str) -> None:
    pixels = photo(name)
    (found,) = loaded("text")([view_of(pixels, spec_of("text").view)])
    check_records(found, "text", "PP-OCRv6_det_small-090f04ab")
    masks, expected = masks_of(found), drawn([box["quad"] for box in GOLDEN[name]], *pixels.shape[:2])
    assert len(masks) == len(expected)
    for mask in expected:
        assert max(overlap(mask, other) for other in masks) >= 0.98
    # rapidocr sorts its boxes without their scores, so scores are compared as a set.
    scores = sorted(box["score"] for box in GOLDEN[name])
    np.testing.assert_allclose(sorted(s.score for s in found.segments), scores, atol=0.01)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["chelsea", "coffee", "astronaut"])
def test_a_drawn_caption_is_covered(name: str) -> None:
    pixels = photo(f"{name}-captioned")
    letters = (pixels != photo(name)).any(axis=2)
    (found,) = loaded("text")([view_of(pixels, spec_of("text").view)])
    assert letters.sum() > 1000
    covered = np.asarray(masks_of(found).any(axis=0))
    assert covered[letters].mean() == 1.0


def test_regions_come_from_above_to_below() -> None:
    (found,) = loaded("text")([view_of(photo("page"), spec_of("text").view)])
    tops = [segment.box[1] for segment in found.segments]
    assert len(tops) == 7
    assert tops == sorted(tops)


@pytest.mark.slow
def test_answers_keep_the_order_of_views() -> None:
    views = [view_of(photo(name), spec_of("text").view, name) for name in ("page", "astronaut", "chelsea-captioned")]
    found = loaded("text", batch=2)(views)
    assert [(one.image_id, len(one.segments)) for one in found] == [
        ("page", 7),
        ("astronaut", 0),
        ("chelsea-captioned", 1),
    ]


def test_nothing_computed_is_never_nothing_found() -> None:
    with pytest.raises(ImageError, match="nan_scores"):
        text.TextModel(spec_of("text"), BROKEN)([view_of(photo("page"), spec_of("text").view)])  # type: ignore[arg-type]


def test_a_turned_rectangle_is_found_again() -> None:
    points = cv2.boxPoints(((50.0, 40.0), (60.0, 10.0), 30.0))
    quad, thin = smallest_rectangle(points)
    assert thin == pytest.approx(10, abs=1e-3)
    assert overlap(*drawn([quad.tolist(), points.tolist()], 100, 100)) == 1.0


def test_grown_by_area_times_ratio_over_perimeter() -> None:
    square = np.array([[10, 10], [50, 10], [50, 50], [10, 50]], np.float32)
    outline = grown(square, 1.6)  # 1600 * 1.6 / 160 = 16 pixels to each side
    np.testing.assert_array_equal([outline.min(axis=0), outline.max(axis=0)], [[-6, -6], [66, 66]])
    np.testing.assert_array_equal(sorted(grown(square, 0).tolist()), sorted(square.tolist()))


def test_mean_inside_is_the_mean_of_the_covered_pixels() -> None:
    probability = np.zeros((20, 30), np.float32)
    probability[5:10, 10:20] = 0.8
    assert mean_inside(probability, np.array([[10, 5], [19, 5], [19, 9], [10, 9]], np.float32)) == pytest.approx(0.8)
    wide = np.array([[10, 5], [29, 5], [29, 9], [10, 9]], np.float32)
    assert mean_inside(probability, wide) == pytest.approx(0.4)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("side", 0),
        ("longest", 700),
        ("pixel", 0),
        ("score", 1.5),
        ("unclip", -1),
        ("max_detections", True),
        ("batch", "2"),
    ],
)
def test_a_value_that_cannot_work_is_named(key: str, value: object) -> None:
    with pytest.raises(ConfigError, match=f"segment.text.{key}: expected .* got "):
        spec_of("text", **{key: value})
