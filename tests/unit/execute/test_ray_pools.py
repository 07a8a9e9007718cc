"""The actors that hold models fit on the available GPUs; a pool that does not fit is refused instead of waited for."""

import pytest

from pipeline.errors import ConfigError
from pipeline.execute.ray_pools import Pools, Size, check_share, pools


@pytest.mark.parametrize(
    ("cards", "networks", "gpus", "expected"),
    [
        (0, 2, 0.0, Pools(segment=1, fill=1, gpus=0.0)),
        (1, 1, 0.0, Pools(segment=1, fill=1, gpus=1.0)),
        (1, 2, 0.0, Pools(segment=1, fill=1, gpus=0.5)),
        (8, 1, 0.0, Pools(segment=8, fill=8, gpus=1.0)),
        (8, 2, 0.0, Pools(segment=8, fill=8, gpus=0.5)),
        (8, 2, 1.0, Pools(segment=4, fill=4, gpus=1.0)),
        (2, 2, 0.25, Pools(segment=2, fill=2, gpus=0.25)),
        (4, 2, 2.0, Pools(segment=1, fill=1, gpus=2.0)),
    ],
)
def test_what_is_chosen_fits(cards: int, networks: int, gpus: float, expected: Pools) -> None:
    assert pools(0, 0, gpus, cards=cards, networks=networks) == expected


@pytest.mark.parametrize(
    ("cards", "segment", "fill", "gpus", "least"),
    [
        (1, 0, 0, 1.0, 2),  # both on one, each with all of it
        (2, 2, 1, 1.0, 3),
        (1, (2, 8), (1, 8), 0.5, 3),
        (1, 0, 0, 0.6, 2),  # two of 0.6 share no GPU
        (0, 0, 0, 0.5, 2),
    ],
)
def test_what_would_wait_for_ever_is_refused(cards: int, segment: Size, fill: Size, gpus: float, least: int) -> None:
    with pytest.raises(
        ConfigError, match=rf"execute\.gpus: {least} actors of {gpus:g} GPUs each do not fit on {cards};"
    ):
        pools(segment, fill, gpus, cards=cards, networks=2)


def test_what_is_asked_for_is_given_where_it_fits() -> None:
    assert pools(3, (1, 4), 0.5, cards=2, networks=2) == Pools(segment=3, fill=(1, 4), gpus=0.5)
    assert pools(2, 5, 0.0, cards=2, networks=1) == Pools(segment=2, fill=5, gpus=1.0)  # that fill is on the CPU
    assert pools(2, 3, 0.0, cards=0, networks=2) == Pools(segment=2, fill=3, gpus=0.0)


@pytest.mark.parametrize("gpus", [1.5, 2.25])
def test_a_share_that_ray_would_not_give_is_refused(gpus: float) -> None:
    with pytest.raises(ConfigError, match=r"execute\.gpus: expected a share of 0 to 1, or a whole number"):
        check_share(gpus)
