import numpy as np
import pytest

from pipeline.errors import ConfigError
from pipeline.fill.pixelate import Pixelate
from tests.fakes import specs
from tests.fakes.fill_samples import face, filled, gradient


def test_needs_to_be_allowed() -> None:
    with pytest.raises(ConfigError, match=r"fill\.allow_reversible: pixelate .* expected true .* fill=solid"):
        Pixelate()


def test_each_block_is_the_mean_of_what_it_covers() -> None:
    rgb = gradient(60, 80)
    mask = np.zeros((60, 80), bool)
    mask[10:50, 20:60] = True
    made = filled(rgb, mask, Pixelate(ratio=0.25, allow_reversible=True))
    for top in range(10, 50, 10):
        for left in range(20, 60, 10):
            block = np.s_[top : top + 10, left : left + 10]
            assert np.abs(made[block] - rgb[block].mean(axis=(0, 1))).max() <= 0.5


def test_a_face_is_a_few_dozen_colours() -> None:
    rgb, mask = face()
    made = filled(rgb, mask, Pixelate(allow_reversible=True))
    assert len(np.unique(made[mask], axis=0)) <= 36


@pytest.mark.parametrize(("wrong", "key"), [({"ratio": 2}, "fill.ratio"), ({"min_px": 1}, "fill.min_px")])
def test_wrong_parameters_are_named(wrong: dict[str, object], key: str) -> None:
    with pytest.raises(ConfigError, match=f"{key}: expected .* got"):
        specs.made("fill", Pixelate, allow_reversible=True, **wrong)
