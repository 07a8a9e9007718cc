"""The steps by which a painting becomes part of a picture, each with a known answer."""

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest

from pipeline.fill.shared.blend import anchored, cloned, feathered, matched, near
from tests.fakes.fill_samples import ellipse, gradient, photograph

MASK = ellipse(90, 100, 50, 45, 20, 15)


def test_one_shift_is_taken_back_everywhere_and_without_a_ring_nothing() -> None:
    true = gradient(90, 100)
    painted = true.astype(np.float32) + np.array([9, -7, 5], np.float32)
    assert np.abs(matched(painted, true, near(MASK, 8) & ~MASK) - true).max() < 1e-3
    assert (matched(painted, true, np.zeros_like(MASK)) == painted).all()


def test_a_shadow_that_is_missing_on_one_side_is_not_added_on_the_other() -> None:
    true = np.full((90, 100, 3), 100, np.uint8)
    painted = np.full((90, 100, 3), 100, np.float32)
    painted[:, :50] = 60
    shifted = matched(painted, true, near(MASK, 8) & ~MASK) - painted
    assert shifted[45, 32].min() > 30
    assert shifted[45, 68].max() < 10


@pytest.mark.parametrize("sigma", [2.0, 12.0])
def test_broad_colours_come_from_the_sketch_and_detail_from_the_painting(sigma: float) -> None:
    sketch = gradient(90, 100)
    detail = np.random.default_rng(1).normal(0, 10, (90, 100, 3)).astype(np.float32)
    made = anchored(np.float32(50) + detail, sketch, sigma)
    kept = (made - sketch)[20:70, 20:80]
    assert np.abs(kept.mean(axis=(0, 1))).max() < 1.5
    assert np.corrcoef(kept.ravel(), detail[20:70, 20:80].ravel())[0, 1] > 0.95


def test_a_feather_begins_at_the_nearest_known_colour_and_ends() -> None:
    true = np.full((90, 100, 3), 100, np.uint8)
    made = feathered(np.full((90, 100, 3), 200, np.float32), true, ~MASK, 4)[45, :, 0]
    assert (made[:30] == 100).all()
    assert (made[30:35] > [100, 130, 150, 170, 190]).all()
    assert (made[35:65] == 200).all()


@pytest.mark.parametrize("blend", [cloned, partial(feathered, feather=5)])
def test_what_is_hidden_makes_no_difference(blend: Callable[..., np.ndarray]) -> None:
    true = photograph("coffee.png")[100:190, 100:200]
    painted = np.random.default_rng(1).integers(0, 256, true.shape).astype(np.float32)
    other = np.where(MASK[..., None], 255 - true, true).astype(np.uint8)
    assert (blend(painted, true, ~MASK)[MASK] == blend(painted, other, ~MASK)[MASK]).all()
    thin = np.ones((90, 100), bool)
    thin[40:42, 30:60] = False
    assert blend(painted, true, thin).shape == true.shape
    assert (blend(painted, true, np.zeros_like(MASK)) == painted).all()
