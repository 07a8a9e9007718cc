"""Faces as facenet-pytorch's MTCNN finds them in the same photographs."""

import json

import numpy as np
import pytest

from pipeline.errors import ConfigError, ImageError
from pipeline.segment.mtcnn import Sums, moved, proposals, square
from tests.fakes.segmenter_views import check_records, loaded, masks_of, spec_of, view_of
from tests.golden.make import HERE, PHOTOS, photo

GOLDEN = json.loads((HERE / "mtcnn.json").read_text())["faces"]


@pytest.mark.slow
@pytest.mark.parametrize("name", PHOTOS)
def test_the_same_boxes_as_facenet_pytorch(name: str) -> None:
    expected = np.array(GOLDEN[name], np.float32).reshape(-1, 5)
    found = loaded("mtcnn").detect(photo(name))
    assert found.shape == expected.shape
    np.testing.assert_allclose(found[np.argsort(found[:, 0])], expected[np.argsort(expected[:, 0])], atol=0.05)


def test_the_golden_photographs_do_hold_faces() -> None:
    assert {name: len(GOLDEN[name]) for name in ("astronaut", "camera", "crowd", "coffee")} == {
        "astronaut": 1,
        "camera": 1,
        "crowd": 4,
        "coffee": 0,
    }


def test_one_segment_a_face_in_full_size_pixels() -> None:
    (found,) = loaded("mtcnn", side=700)([view_of(photo("crowd"), spec_of("mtcnn", side=700).view)])
    check_records(found, "face", "onet-297add4c")
    masks = masks_of(found)
    assert len(masks) == 3  # the smallest has 15 pixels, half of that where it is looked for
    centres = {(305, 393), (125, 1181), (646, 1088)}
    assert {next((y, x) for y, x in centres if mask[y, x]) for mask in masks} == centres


def test_resizing_takes_the_mean_of_what_each_pixel_touches() -> None:
    rgb = np.random.default_rng(1).integers(0, 256, (7, 10, 3)).astype(np.uint8)
    np.testing.assert_array_equal(Sums(rgb).resized(7, 10), rgb.transpose(2, 0, 1))
    small = Sums(rgb).resized(3, 4)
    np.testing.assert_allclose(small[:, 1, 1], rgb[2:5, 2:5].reshape(-1, 3).mean(axis=0), rtol=1e-6)
    large = Sums(rgb).resized(4, 4, 2, 3, 4, 5)
    np.testing.assert_array_equal(large, rgb[3:5, 2:4].repeat(2, 0).repeat(2, 1).transpose(2, 0, 1))


def test_boxes_of_the_first_network() -> None:
    probability = np.zeros((3, 4), np.float32)
    probability[2, 1] = 0.75
    offsets = np.arange(48, dtype=np.float32).reshape(4, 3, 4)
    boxes, moves = proposals(offsets, probability, 0.5, 0.6)
    np.testing.assert_array_equal(boxes, [[6, 10, 28, 32, 0.75]])
    np.testing.assert_array_equal(moves, [[9, 21, 33, 45]])


def test_boxes_are_moved_and_squared() -> None:
    box = np.array([[10, 20, 29, 59, 0.5]], np.float32)
    np.testing.assert_allclose(moved(box, np.array([[0.5, 0, 0, -0.5]], np.float32)), [[20, 20, 29, 39, 0.5]])
    np.testing.assert_allclose(square(box), [[0, 20, 39, 59, 0.5]])


def test_an_image_too_small_for_a_face_has_none() -> None:
    assert loaded("mtcnn").detect(np.full((5, 9, 3), 200, np.uint8)).shape == (0, 5)


def test_an_answer_that_is_no_number_is_refused() -> None:
    class Nan:
        height = width = 64

        def resized(self, height: int, width: int) -> np.ndarray:
            return np.full((3, height, width), np.nan, np.float32)

    with pytest.raises(ImageError, match="not finite"):
        loaded("mtcnn")._propose(Nan())


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"min_face": 5}, "mtcnn.min_face"),
        ({"thresholds": [0.5, 0.5]}, "mtcnn.thresholds"),
        ({"thresholds": [0.5, 0.5, 2]}, "mtcnn.thresholds"),
        ({"factor": 1.0}, "mtcnn.factor"),
        ({"side": -1}, "mtcnn.side"),
        ({"pnet": 3}, "mtcnn.pnet"),
        ({"rnet": {"uri": "file:/rnet.safetensors"}}, "mtcnn.rnet"),
    ],
)
def test_a_wrong_value_is_named(changes: dict[str, object], key: str) -> None:
    with pytest.raises(ConfigError, match=rf"segment\.{key}(\[2\])?: expected .* got"):
        spec_of("mtcnn", **changes)
