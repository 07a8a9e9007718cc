"""LaMa's interface, with small real networks that have it: ONNX, and TorchScript where the config allows it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.errors import ConfigError, ImageError, WeightsError
from pipeline.fill.lama import Lama
from pipeline.fill.shared.windows import Windowing
from pipeline.models.weights import Weights
from tests.fakes import fill_networks, specs
from tests.fakes.fill_samples import ellipse, face, filled, gradient

FIXED = Windowing(fixed=True)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEGFILL_CACHE", str(tmp_path / "cache"))


def made(path: Path, **more: Any) -> Lama:
    return Lama(model=fill_networks.weights(path), windowing=FIXED, **more)


def test_the_network_paints_what_is_hidden_and_sees_nothing_of_it(tmp_path: Path) -> None:
    fill = made(fill_networks.lama(tmp_path / "lama.onnx"))
    fill.check()
    rgb, mask = face()
    other = rgb.copy()
    other[mask] = np.random.default_rng(1).integers(0, 256, (int(mask.sum()), 3))
    first, second = filled(rgb, mask, fill), filled(other, mask, fill)
    assert (first == second).all()
    assert (first[~mask] == rgb[~mask]).all()
    assert (first[mask] != rgb[mask]).any(axis=-1).mean() > 0.95
    assert fill.weights == (fill.model,)
    assert (fill.active, fill.reversible) == (True, False)


def test_both_scales_and_names_in_any_order_give_the_same_picture(tmp_path: Path) -> None:
    picture, mask = gradient(90, 100), ellipse(90, 100, 50, 45, 20, 15)
    usual = filled(picture, mask, made(fill_networks.lama(tmp_path / "a.onnx")))
    one = made(fill_networks.lama(tmp_path / "b.onnx", white=1.0, names=("z", "a"), batch=1), white=1.0)
    one.check()
    assert np.abs(usual.astype(int) - filled(picture, mask, one)).max() <= 1
    assert np.abs(usual.astype(int) - picture).max() < 40


@pytest.mark.parametrize(("real", "said"), [(255.0, 1.0), (1.0, 255.0)])
def test_the_wrong_scale_is_found_before_a_run(tmp_path: Path, real: float, said: float) -> None:
    fill = made(fill_networks.lama(tmp_path / "lama.onnx", white=real), white=said)
    with pytest.raises(ConfigError, match=rf"fill.white: expected lama.onnx .* \(white={said:g}\), got .* 255 and 1"):
        fill.check()


@pytest.mark.parametrize(
    ("size", "windowing", "said"),
    [
        ((256, 256), FIXED, r"windows of 512x512 \(fill.windowing.fixed=true, .*, got image \?x3x256x256 float"),
        (
            (512, 512),
            Windowing(),
            r"windows of any size \(fill.windowing.fixed=false, .*, got image \?x3x512x512 float",
        ),
        ((512, 512), Windowing(side=256, fixed=True), r"windows of 256x256 .*, got image \?x3x512x512 float"),
    ],
)
def test_a_file_for_another_size_is_refused(
    tmp_path: Path, size: tuple[int, int], windowing: Windowing, said: str
) -> None:
    fill = Lama(model=fill_networks.weights(fill_networks.lama(tmp_path / "lama.onnx", size=size)), windowing=windowing)
    with pytest.raises(ConfigError, match=f"fill.model: lama.onnx does not fit this fill: expected {said}"):
        fill.check()


def test_a_file_for_another_batch_or_of_another_network_is_refused(tmp_path: Path) -> None:
    one = fill_networks.weights(fill_networks.lama(tmp_path / "one.onnx", batch=1))
    with pytest.raises(ConfigError, match=r"batches of up to 4 \(fill.windowing.batch\), got one made for 1"):
        Lama(model=one, windowing=Windowing(fixed=True, batch=4)).check()
    with pytest.raises(ConfigError, match=r"expected an input of \?x3x\?x\? float, got image \?x3x\?x\? uint8; mask"):
        made(fill_networks.migan(tmp_path / "migan.onnx")).check()
    with pytest.raises(ConfigError, match="expected 2 inputs, got 1: x"):
        made(fill_networks.generator(tmp_path / "generator.onnx")).check()


def test_numbers_that_are_not_finite_reject_the_image(tmp_path: Path) -> None:
    rgb, mask = face()
    with pytest.raises(ImageError, match="nan_pixels"):
        filled(rgb, mask, made(fill_networks.lama(tmp_path / "nan.onnx", bad=True)))


def test_torchscript_only_where_the_config_allows_it(tmp_path: Path) -> None:
    path = fill_networks.torchscript(tmp_path / "big-lama.pt")
    with pytest.raises(WeightsError, match="can run code"):
        fill_networks.weights(path)
    with pytest.raises(ConfigError, match=r"^torchscript: expected a .pt file, got file:.*lama.onnx"):
        fill_networks.weights(fill_networks.lama(tmp_path / "lama.onnx"), torchscript=True)
    model = fill_networks.weights(path, torchscript=True)
    with pytest.raises(ConfigError, match=r"fill.allow_torchscript: big-lama.pt is a program .* expected true"):
        Lama(model=model, windowing=Windowing(), white=1.0)
    fill = Lama(model=model, windowing=Windowing(side=128, overlap=16), white=1.0, allow_torchscript=True)
    fill.check()
    rgb, mask = face()
    first = filled(rgb, mask, fill)
    assert (first == filled(rgb, mask, fill)).all()
    assert (first[~mask] == rgb[~mask]).all()
    with pytest.raises(ConfigError, match=r"fill.white: .* got 0.5"):
        Lama(model=model, windowing=Windowing(), allow_torchscript=True).check()


def test_a_file_that_is_no_torchscript_is_refused(tmp_path: Path) -> None:
    (tmp_path / "other.pt").write_bytes(b"PK\x03\x04 no archive")
    model = fill_networks.weights(tmp_path / "other.pt", torchscript=True)
    with pytest.raises(WeightsError, match=r"other.pt: expected a TorchScript file"):
        Lama(model=model, windowing=Windowing(), white=1.0, allow_torchscript=True).check()


def test_parts_that_cannot_be_are_named(tmp_path: Path) -> None:
    file = fill_networks.weights(fill_networks.lama(tmp_path / "lama.onnx"))
    with pytest.raises(ConfigError, match=r"fill.model: expected the weights of a .onnx or .pt file"):
        Lama(model=Weights(uri="file:/a.safetensors", sha256="0" * 64, licence="MIT"), windowing=FIXED)
    with pytest.raises(ConfigError, match=r"fill.white: expected a number from 0.001"):
        specs.made("fill", Lama, model=file, windowing=FIXED, white=0)
    with pytest.raises(ConfigError, match=r"fill.context: expected a number from 0 to 10"):
        specs.made("fill", Lama, model=file, windowing=FIXED, context=-1)
