import numpy as np
import pytest

from pipeline.errors import ConfigError
from pipeline.fill.diffuse import Diffuse
from pipeline.fill.exemplar.fill import Exemplar
from pipeline.records import Mask, Rgb
from tests.fakes import specs
from tests.fakes.fill_samples import ellipse, filled, photograph


def sharpness(rgb: Rgb, mask: Mask) -> float:
    """Mean squared difference between neighbours inside the mask."""
    steps = np.diff(rgb.astype(float), axis=1) ** 2
    return float(steps[(mask[:, 1:] & mask[:, :-1])].mean())


def test_a_pattern_goes_on_through_the_hole() -> None:
    y, x = np.mgrid[:120, :160]
    board = np.where((y // 8 + x // 8) % 2, 230, 20).astype(np.uint8)[..., None].repeat(3, axis=-1)
    mask = ellipse(120, 160, 80, 60, 20, 18)
    holed = board.copy()
    holed[mask] = 128
    made = filled(holed, mask, Exemplar())
    assert (np.abs(made.astype(int) - board).max(axis=-1) < 10)[mask].mean() > 0.9


@pytest.mark.slow
@pytest.mark.parametrize("side", [64, 256])
def test_texture_stays_as_sharp_as_its_surroundings_at_every_size_of_the_search(side: int) -> None:
    grass = photograph("grass.png")
    height, width, _ = grass.shape
    mask = ellipse(height, width, 250, 240, 60, 50)
    copied = sharpness(filled(grass, mask, Exemplar(side=side)), mask)
    around = sharpness(grass, ~mask)
    assert copied > 0.5 * around
    assert sharpness(filled(grass, mask, Diffuse()), mask) < 0.1 * around


def test_only_colours_that_are_known_are_copied() -> None:
    """Two colours, far apart: whatever is blended at a seam lies between them, nothing else is invented."""
    rgb = np.full((100, 100, 3), [200, 60, 60], np.uint8)
    rgb[:, 50:] = [60, 60, 200]
    mask = ellipse(100, 100, 50, 50, 20, 20)
    rgb[mask] = [0, 255, 0]
    made = filled(rgb, mask, Exemplar())[mask].astype(int)
    assert (made[:, 1] == 60).all()
    assert np.abs(made[:, 0] + made[:, 2] - 260).max() <= 1
    assert ((made[:, 0] == 200) | (made[:, 0] == 60)).mean() > 0.8


@pytest.mark.slow
def test_another_image_id_may_draw_other_numbers_the_same_one_does_not() -> None:
    grass = photograph("grass.png")[:200, :200]
    mask = ellipse(200, 200, 100, 100, 30, 30)
    first, again, other = (filled(grass, mask, Exemplar(side=100), name) for name in ("a", "a", "b"))
    assert (first == again).all()
    assert (first != other).any()


@pytest.mark.parametrize(("wrong", "key"), [({"side": 4}, "fill.side"), ({"context": "wide"}, "fill.context")])
def test_wrong_parameters_are_named(wrong: dict[str, object], key: str) -> None:
    with pytest.raises(ConfigError, match=f"{key}: expected .* got"):
        specs.made("fill", Exemplar, **wrong)
