"""fill=generative: what runs is the network that was trained, the same on every run, and blind to what it replaces."""

import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from pipeline.errors import ConfigError
from pipeline.fill.generative.fill import Generative, inputs
from pipeline.fill.generative.train import validate
from pipeline.fill.generative.train.export import export, load
from pipeline.fill.generative.train.generator import Generator
from pipeline.fill.shared.windows import FillWindow, Windowing
from pipeline.models.onnx_session import session
from pipeline.models.weights import Weights
from tests.fakes import fill_networks
from tests.fakes.fill_samples import face, filled


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An export of random weights."""
    torch.manual_seed(3)
    network = Generator()
    torch.nn.init.normal_(network.paint.weight, std=0.1)
    path = tmp_path_factory.mktemp("weights") / "drawn.onnx"
    export(network, path)
    return path


def made(path: Path, **more: Any) -> Generative:
    weights = Weights(uri=path.as_uri(), sha256=sha256(path.read_bytes()).hexdigest(), licence="Apache-2.0")
    return Generative(model=weights, windowing=Windowing(side=256), **more)


def test_training_and_running_see_a_window_alike(file: Path) -> None:
    """The same window through the training's own path and through the fill."""
    rgb, mask = face()
    rgb, mask = rgb[:256, 100:356], mask[:256, 100:356]
    expected = validate.fill(load(file), rgb, mask).astype(int)
    blank = np.where(mask[..., None], 7, rgb).astype(np.uint8)
    batch = inputs([FillWindow(pixels=blank, mask=mask, seed=11)])
    (answer,) = session(file, "cpu", 1).run(["painted"], {"window": batch})
    painted = ((answer[0].transpose(1, 2, 0) + 1) * 127.5).clip(0, 255)
    assert np.abs(painted - expected)[mask].max() <= 1


def test_the_same_bytes_on_every_load_and_nothing_of_what_was_there(file: Path) -> None:
    rgb, mask = face()
    fill = made(file)
    first = filled(rgb, mask, fill)
    other = rgb.copy()
    other[mask] = np.random.default_rng(1).integers(0, 256, (int(mask.sum()), 3))
    assert (filled(other, mask, made(file)) == first).all()
    assert (first[~mask] == rgb[~mask]).all()
    assert (first[mask] != rgb[mask]).any(axis=-1).mean() > 0.95
    assert (filled(rgb, mask, fill, image_id="b") == first).all()  # nothing in it is drawn by lot


def test_a_file_of_another_network_or_of_numbers_that_are_not_finite_is_refused(file: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"expected 1 input, got 2: image, mask"):
        made(fill_networks.lama(tmp_path / "lama.onnx")).check()
    with pytest.raises(ConfigError, match=r"expected an input of \?x10x\?x\? float, got x \?x4x512x512 float"):
        made(fill_networks.generator(tmp_path / "generator.onnx")).check()
    model = onnx.load(file)
    bias = next(tensor for tensor in model.graph.initializer if tensor.name == "paint.bias")
    bias.CopyFrom(numpy_helper.from_array(np.full(5, np.nan, np.float16), bias.name))
    onnx.save(model, tmp_path / "nan.onnx")
    with pytest.raises(ConfigError, match=r"fill.model: paint.bias: expected finite numbers"):
        made(tmp_path / "nan.onnx").check()


def test_mistakes_are_named(file: Path) -> None:
    weights = made(file).model
    with pytest.raises(ConfigError, match=r"windowing.multiple: expected a multiple of 8, got 4"):
        Generative(model=weights, windowing=Windowing(side=256, multiple=4))
    with pytest.raises(ConfigError, match=r"fill.model: expected the weights of a .onnx file"):
        Generative(model=Weights(uri="file:/m.safetensors", sha256="0" * 64, licence="MIT"), windowing=Windowing())


def test_torch_is_not_needed() -> None:
    code = "import sys; import pipeline.fill.generative.fill; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
