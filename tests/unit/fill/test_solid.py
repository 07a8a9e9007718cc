import numpy as np
import pytest

from pipeline.errors import ConfigError
from pipeline.fill.solid import Solid
from tests.fakes import specs
from tests.fakes.fill_samples import filled


def test_a_given_colour() -> None:
    mask = np.zeros((50, 50), bool)
    mask[10:30, 10:30] = True
    made = filled(np.zeros((50, 50, 3), np.uint8), mask, Solid(colour="#0a80FF"))
    assert (made[mask] == [10, 128, 255]).all()
    assert (made[~mask] == 0).all()


def test_the_mean_is_of_the_ring_around_each_part() -> None:
    rgb = np.zeros((60, 90, 3), np.uint8)
    rgb[:, 30:] = [90, 60, 30]
    mask = np.zeros((60, 90), bool)
    mask[20:40, 8:22] = mask[20:40, 38:52] = True  # one crop, two parts, each with at least 8 pixels of its own ground
    made = filled(rgb, mask, Solid(ring=8))
    assert (made[20:40, 8:22] == 0).all()
    assert (made[20:40, 38:52] == [90, 60, 30]).all()


def test_a_part_with_no_known_pixel_near_takes_the_mean_of_the_crop() -> None:
    rgb = np.full((60, 60, 3), 80, np.uint8)
    mask = np.ones((60, 60), bool)
    mask[0, 0] = False
    rgb[mask] = 255
    assert (filled(rgb, mask, Solid(ring=1)) == 80).all()


@pytest.mark.parametrize(
    ("wrong", "key"),
    [
        ({"colour": "rot"}, "fill.colour"),
        ({"colour": 808080}, "fill.colour"),
        ({"colour": "#12345"}, "fill.colour"),
        ({"ring": 0}, "fill.ring"),
        ({"ring": 2.5}, "fill.ring"),
        ({"ring": True}, "fill.ring"),
        ({"context": -0.1}, "fill.context"),
        ({"context": float("nan")}, "fill.context"),
    ],
)
def test_wrong_parameters_are_named(wrong: dict[str, object], key: str) -> None:
    with pytest.raises(ConfigError, match=f"{key}: expected .* got"):
        specs.made("fill", Solid, **wrong)
