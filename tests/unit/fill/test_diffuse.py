from typing import Literal

import numpy as np
import pytest

from pipeline.errors import ConfigError
from pipeline.fill.diffuse import Diffuse
from tests.fakes import specs
from tests.fakes.fill_samples import ellipse, filled, gradient


@pytest.mark.parametrize("method", ["telea", "ns"])
@pytest.mark.parametrize("soften", [0.0, 0.5])
def test_a_gradient_goes_on_through_the_hole(method: Literal["telea", "ns"], soften: float) -> None:
    rgb = gradient(80, 100)
    mask = ellipse(80, 100, 50, 40, 30, 5)
    holed = rgb.copy()
    holed[mask] = 0
    error = np.abs(filled(holed, mask, Diffuse(method=method, soften=soften)).astype(int) - rgb)[mask]
    assert error.mean() < 3
    assert error.max() < 12


def test_softening_takes_the_seam_out_of_the_middle() -> None:
    rgb = np.zeros((100, 100, 3), np.uint8)
    rgb[50:] = 200
    mask = np.zeros((100, 100), bool)
    mask[30:70] = True
    steps = [
        np.abs(np.diff(filled(rgb, mask, Diffuse(soften=share))[:, 50, 0].astype(int))).max() for share in (0.0, 0.5)
    ]
    assert steps[0] > 60
    assert steps[1] < 20


def test_a_large_crop_is_filled_at_a_smaller_size() -> None:
    rgb = gradient(90, 100).repeat(8, axis=0).repeat(8, axis=1)
    mask = ellipse(720, 800, 400, 360, 90, 60)
    holed = rgb.copy()
    holed[mask] = 255
    error = np.abs(filled(holed, mask, Diffuse(side=64)).astype(int) - rgb)[mask]
    assert error.mean() < 6
    assert error.max() < 30


@pytest.mark.parametrize(
    ("wrong", "key"),
    [
        ({"method": "tela"}, "fill.method"),
        ({"radius": 0.5}, "fill.radius"),
        ({"radius": "5"}, "fill.radius"),
        ({"soften": -1}, "fill.soften"),
        ({"side": 8}, "fill.side"),
        ({"context": 11}, "fill.context"),
    ],
)
def test_wrong_parameters_are_named(wrong: dict[str, object], key: str) -> None:
    with pytest.raises(ConfigError, match=f"{key}: expected .* got"):
        specs.made("fill", Diffuse, **wrong)
