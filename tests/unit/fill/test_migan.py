"""MI-GAN's two interfaces, with small real networks that have them."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import ConfigError, ImageError
from pipeline.fill.migan import Migan
from pipeline.fill.shared.windows import Windowing
from tests.fakes import fill_networks, specs
from tests.fakes.fill_samples import ellipse, face, filled, gradient

FIXED = Windowing(fixed=True)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEGFILL_CACHE", str(tmp_path / "cache"))


def both(tmp_path: Path) -> tuple[Migan, Migan]:
    return (
        Migan(model=fill_networks.weights(fill_networks.migan(tmp_path / "migan.onnx")), windowing=FIXED),
        Migan(
            model=fill_networks.weights(fill_networks.generator(tmp_path / "g.onnx")), windowing=FIXED, form="generator"
        ),
    )


def test_the_network_paints_what_is_hidden_and_sees_nothing_of_it(tmp_path: Path) -> None:
    rgb, mask = face()
    other = rgb.copy()
    other[mask] = np.random.default_rng(1).integers(0, 256, (int(mask.sum()), 3))
    for fill in both(tmp_path):
        fill.check()
        first, second = filled(rgb, mask, fill), filled(other, mask, fill)
        assert (first == second).all()
        assert (first[~mask] == rgb[~mask]).all()
        assert (first[mask] != rgb[mask]).any(axis=-1).mean() > 0.95


def test_what_is_hidden_and_what_is_known_are_not_mistaken_for_each_other(tmp_path: Path) -> None:
    """A network that took the mask the other way round would paint with the colour that hides, not the picture's."""
    picture, mask = gradient(90, 100), ellipse(90, 100, 50, 45, 20, 15)
    for fill in both(tmp_path):
        assert np.abs(filled(picture, mask, fill).astype(int) - picture).max() < 40


def test_any_size_when_the_file_says_so(tmp_path: Path) -> None:
    rgb, mask = face()
    fill = Migan(
        model=fill_networks.weights(fill_networks.migan(tmp_path / "migan.onnx")),
        windowing=Windowing(side=128, overlap=16),
    )
    fill.check()
    made = filled(rgb, mask, fill)
    assert (made[~mask] == rgb[~mask]).all()
    assert (made == filled(rgb, mask, fill)).all()


def test_a_file_of_another_network_is_refused(tmp_path: Path) -> None:
    four = fill_networks.weights(fill_networks.migan(tmp_path / "four.onnx", channels=4))
    with pytest.raises(ConfigError, match=r"expected an input of \?x3x\?x\? uint8, got image \?x4x\?x\? uint8; mask"):
        Migan(model=four, windowing=FIXED).check()
    with pytest.raises(ConfigError, match=r"expected an input of \?x3x\?x\? uint8, got image \?x3x512x512 float"):
        Migan(model=fill_networks.weights(fill_networks.lama(tmp_path / "lama.onnx")), windowing=FIXED).check()
    with pytest.raises(ConfigError, match="expected 1 input, got 2: image, mask"):
        Migan(model=four, windowing=FIXED, form="generator").check()


def test_an_answer_of_another_size_rejects_the_image(tmp_path: Path) -> None:
    rgb, mask = face()
    fill = Migan(model=fill_networks.weights(fill_networks.migan(tmp_path / "half.onnx", shrunk=True)), windowing=FIXED)
    with pytest.raises(ImageError, match=r"wrong_shape.*expected 1x3x512x512 .* got 1x3x256x256"):
        filled(rgb, mask, fill)


def test_parts_that_cannot_be_are_named(tmp_path: Path) -> None:
    file = fill_networks.weights(fill_networks.migan(tmp_path / "migan.onnx"))
    with pytest.raises(ConfigError, match=r"fill.form: expected pipeline or generator, got 'v2'"):
        specs.made("fill", Migan, model=file, windowing=FIXED, form="v2")
    with pytest.raises(ConfigError, match=r"fill.windowing.batch: expected 1 with form=pipeline"):
        Migan(model=file, windowing=Windowing(fixed=True, batch=2))
