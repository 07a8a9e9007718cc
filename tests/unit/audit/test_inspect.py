"""How faces are found at several scales, and which of them the contact sheet shows."""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.audit import contact_sheet
from pipeline.audit.inspect import CROPS, ENLARGED_UP_TO, SEARCHED, LargestFaces, boxes_in
from pipeline.audit.receipt import Finding
from pipeline.records import Rgb


class Fixed:
    """Finds the same share of whatever it is shown; keeps the sizes that it was shown."""

    def __init__(self, *scores: float) -> None:
        self.shown: list[tuple[int, int]] = []
        self._scores = list(scores)

    def detect(self, rgb: Rgb) -> NDArray[np.float32]:
        height, width = rgb.shape[:2]
        self.shown.append((height, width))
        score = self._scores.pop(0)
        return np.array([[width / 4, height / 4, width / 2, height / 2, score]], np.float32)


def picture(height: int, width: int) -> Rgb:
    return np.zeros((height, width, 3), np.uint8)


def test_a_small_picture_is_also_searched_at_twice_its_size_and_the_surer_box_counts() -> None:
    detector = Fixed(0.8, 0.9)
    (box,) = boxes_in(picture(100, 200), detector, 0.5)
    assert detector.shown == [(100, 200), (200, 400)]
    np.testing.assert_allclose(box, (50, 25, 100, 50, 0.9), atol=1e-5)


def test_a_large_picture_is_searched_once_and_shrunk() -> None:
    detector = Fixed(0.8)
    (box,) = boxes_in(picture(10, 2 * SEARCHED), detector, 0.5)
    assert detector.shown == [(5, SEARCHED)]
    np.testing.assert_allclose(box[:4], (SEARCHED / 2, 2.5, SEARCHED, 5), atol=1e-3)
    detector = Fixed(0.8)
    assert boxes_in(picture(10, ENLARGED_UP_TO + 1), detector, 0.81) == []
    assert detector.shown == [(10, ENLARGED_UP_TO + 1)]


def test_the_sheet_shows_the_largest_faces_with_a_margin() -> None:
    largest = LargestFaces()
    rgb = picture(400, 400)
    for side in range(10, 10 + 2 * CROPS):
        largest.add(Finding(image="x!\x1b.png", what="", side=side, score=0.9, x=200, y=200), rgb)
    crops = list(largest.crops())
    assert [face.side for face, _ in crops] == list(range(9 + 2 * CROPS, 9 + CROPS, -1))
    assert all(crop.shape[0] > face.side for face, crop in crops)
    sheet = Image.open(io.BytesIO(contact_sheet.draw(crops)))
    assert sheet.size == (6 * 180, CROPS // 6 * 212)
