"""Copies from afar: what repeats goes on, only known pixels are copied, the same bytes on any number of threads."""

from collections.abc import Callable, Iterator

import cv2
import numpy as np
import pytest

from pipeline.fill.generative.shiftmap import CELL, RINGS, copied, displacements
from pipeline.records import Mask, Rgb
from tests.fakes.fill_samples import face

REACH = RINGS[-1][0] * CELL


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    before = cv2.getNumThreads()
    yield cv2.setNumThreads
    cv2.setNumThreads(before)


def blanked(rgb: Rgb, hole: Mask) -> Rgb:
    return np.where(hole[..., None], rgb[~hole].mean(axis=0).astype(np.uint8), rgb)


@pytest.mark.parametrize("period", [4, 8, 16])
def test_what_repeats_goes_on_exactly(period: int) -> None:
    y, x = np.mgrid[:96, :128]
    rgb = np.stack([y % period * 9, x % period * 7, (x + y) % period * 5], axis=-1).astype(np.uint8)
    hole = np.zeros((96, 128), np.bool_)
    hole[30:61, 50:83] = True
    assert (copied(blanked(rgb, hole), hole) == rgb).all()


def test_every_displacement_leads_to_what_is_known() -> None:
    rgb, hole = face()
    rgb, hole = rgb[:256, 96:352], hole[:256, 96:352]
    shifts, found = displacements(blanked(rgb, hole), hole)
    assert (found == hole.reshape(64, 4, 64, 4).any(axis=(1, 3))).all()
    assert not shifts[~found].any()
    cells = np.argwhere(found)
    there = CELL * cells + shifts[tuple(cells.T)]
    for step in np.ndindex(CELL, CELL):
        assert not hole[tuple((there + step).T)].any()
    assert len(np.unique(shifts[found], axis=0)) > 5


def test_two_colours_stay_two_colours_and_what_is_known_stays() -> None:
    rgb = np.full((128, 128, 3), (200, 30, 60), np.uint8)
    rgb[:, 64:] = (10, 90, 250)
    hole = np.zeros((128, 128), np.bool_)
    hole[40:88, 30:100] = True
    painted = copied(blanked(rgb, hole), hole)
    assert (painted[~hole] == rgb[~hole]).all()
    sharp = (painted[hole][:, None] == [(200, 30, 60), (10, 90, 250)]).all(axis=-1).any(axis=-1)
    assert sharp.mean() > 0.9  # the others lie between two copies


def test_what_nothing_known_is_near_stays_as_sketched() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (64, 256, 3), np.uint8)
    hole = np.ones((64, 256), np.bool_)
    hole[:, :16] = False
    painted = copied(blanked(rgb, hole), hole)
    far = np.s_[:, 16 + REACH :]
    assert (painted[far] == blanked(rgb, hole)[far]).all()
    assert (painted[:, 16:REACH] != blanked(rgb, hole)[:, 16:REACH]).any(axis=-1).mean() > 0.9


@pytest.mark.parametrize("hole", [np.zeros((16, 24), np.bool_), np.ones((16, 24), np.bool_)])
def test_nothing_to_do_and_nothing_to_copy(hole: Mask) -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (16, 24, 3), np.uint8)
    assert (copied(rgb, hole) == rgb).all()


@pytest.mark.parametrize("side", [8, 16])
def test_tiny_pictures(side: int) -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
    hole = np.zeros((side, side), np.bool_)
    hole[1:4, 2:5] = True
    painted = copied(blanked(rgb, hole), hole)
    assert (painted[~hole] == rgb[~hole]).all()


def test_the_same_bytes_on_any_number_of_threads(threads: Callable[[int], None]) -> None:
    rgb, hole = face()
    rgb, hole = rgb[:256, 96:352], hole[:256, 96:352]
    made = []
    for count in (1, 2, 7):
        threads(count)
        made.append(copied(blanked(rgb, hole), hole))
    assert all((other == made[0]).all() for other in made[1:])
