"""What the generator is asked for, on drawn windows with known answers."""

import pytest
import torch

from pipeline.fill.generative.train import losses


def window(value: float) -> torch.Tensor:
    return torch.full((1, 3, 16, 16), value)


@pytest.fixture
def mask() -> torch.Tensor:
    half = torch.zeros(1, 1, 16, 16)
    half[..., :8] = 1
    return half


@pytest.fixture
def checks() -> torch.Tensor:
    """+1 and -1 by turns: detail without a mean."""
    y, x = torch.meshgrid(torch.arange(16), torch.arange(16), indexing="ij")
    return (1.0 - 2.0 * ((x + y) % 2)).expand(1, 3, 16, 16)


@pytest.mark.parametrize(("pool", "expected"), [(1, 1.0), (2, 0.0), (8, 0.0)])
def test_detail_finer_than_the_pool_is_free(
    mask: torch.Tensor, checks: torch.Tensor, pool: int, expected: float
) -> None:
    inside, outside = losses.reconstruction(checks, window(0.0), mask, pool)
    assert (float(inside), float(outside)) == (expected, expected)


@pytest.mark.parametrize("pool", [1, 2, 8])
def test_a_wrong_colour_costs_on_its_own_side_whatever_the_pool(mask: torch.Tensor, pool: int) -> None:
    painted = window(0.0)
    painted[..., :8] = 0.5
    inside, outside = losses.reconstruction(painted, window(0.25), mask, pool)
    assert float(inside) == pytest.approx(0.25)
    assert float(outside) == pytest.approx(0.25)
    inside, outside = losses.reconstruction(painted, window(0.0), mask, pool)
    assert float(inside) == pytest.approx(0.5)
    assert float(outside) == 0.0


def test_as_much_detail_is_enough_and_none_is_wrong(mask: torch.Tensor, checks: torch.Tensor) -> None:
    assert float(losses.detail(-checks, checks, mask, 8)) < 1e-6
    none, half, twice = (float(losses.detail(share * checks, checks, mask, 8)) for share in (0, 0.5, 2))
    assert none == pytest.approx(2 * half) == pytest.approx(twice)
    assert none > 0.9
    outside = torch.where(mask > 0, checks, window(0.0))
    assert float(losses.detail(outside, checks, mask, 4)) < 0.2


def test_patches_of_holes_are_to_be_told_from_all_others(mask: torch.Tensor) -> None:
    sure = torch.full((1, 1, 2, 2), 9.0)
    right = torch.where(torch.tensor([[True, False], [True, False]]), -sure, sure)
    assert float(losses.discriminator(sure, right, mask)) < 0.01
    assert float(losses.discriminator(sure, sure, mask)) > 8
    assert float(losses.adversarial(sure, mask)) < 0.01
    assert float(losses.adversarial(right, mask)) > 8
