import numpy as np
import pytest

from pipeline.errors import ConfigError
from pipeline.fill.blur import Blur
from tests.fakes import specs
from tests.fakes.fill_samples import face, filled


def test_needs_to_be_allowed() -> None:
    with pytest.raises(ConfigError, match=r"fill\.allow_reversible: blur .* expected true .* fill=solid"):
        Blur()
    with pytest.raises(ConfigError, match=r"fill\.allow_reversible"):
        specs.made("fill", Blur, allow_reversible="yes")


def test_detail_goes_and_the_colour_stays() -> None:
    rgb, mask = face()
    made = filled(rgb, mask, Blur(allow_reversible=True))
    assert np.abs(made[mask].mean(axis=0) - rgb[mask].mean(axis=0)).max() < 20  # the dark hair flows in
    assert made[mask].std() < 0.5 * rgb[mask].std()
    fine = np.abs(np.diff(made.astype(int), axis=1)).max(axis=-1)[mask[:, 1:] & mask[:, :-1]]
    assert fine.max() <= 3


def test_agrees_with_the_gaussian_it_stands_for() -> None:
    step = np.zeros((200, 200, 3), np.uint8)
    step[:, 100:] = 200
    mask = np.zeros((200, 200), bool)
    mask[40:160, 40:160] = True
    made = filled(step, mask, Blur(ratio=0.1, allow_reversible=True))  # sigma 12
    assert abs(int(made[100, 99, 0]) - 97) <= 4
    assert abs(int(made[100, 88, 0]) - 34) <= 5  # one sigma before: 16 %, less half a pixel
    assert abs(int(made[100, 112, 0]) - 170) <= 5


@pytest.mark.parametrize(("wrong", "key"), [({"ratio": -0.1}, "fill.ratio"), ({"min_px": 0}, "fill.min_px")])
def test_wrong_parameters_are_named(wrong: dict[str, object], key: str) -> None:
    with pytest.raises(ConfigError, match=f"{key}: expected .* got"):
        specs.made("fill", Blur, allow_reversible=True, **wrong)
