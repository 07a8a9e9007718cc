"""Holes are drawn from a seed, of every kind, neither empty nor all."""

import numpy as np
import pytest

from pipeline.fill.generative.train.holes import KINDS, MAX_SHARE, MIN_SHARE, hole


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("side", [64, 200])
def test_a_kind_draws_masks_of_the_size_that_differ(kind: str, side: int) -> None:
    rng = np.random.default_rng(0)
    masks = [KINDS[kind](rng, side) for _ in range(20)]
    assert {(mask.shape, mask.dtype) for mask in masks} == {((side, side), np.dtype(bool))}
    assert len({mask.tobytes() for mask in masks}) > 15
    assert sum(MIN_SHARE <= mask.mean() <= MAX_SHARE for mask in masks) >= 10


def test_a_hole_is_the_same_from_the_same_seed_and_of_a_bounded_share() -> None:
    masks = [hole(np.random.default_rng(seed), 96) for seed in range(40)]
    assert all(MIN_SHARE <= mask.mean() <= MAX_SHARE for mask in masks)
    assert all((mask == hole(np.random.default_rng(seed), 96)).all() for seed, mask in enumerate(masks))
    assert max(mask.mean() for mask in masks) > 4 * min(mask.mean() for mask in masks)
