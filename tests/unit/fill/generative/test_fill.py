"""fill=generative: the graph that runs is the network that was trained, small, the same on every run, and blind to what
it replaces."""

import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from pipeline.errors import ConfigError
from pipeline.fill.generative.fill import Generative, inputs
from pipeline.fill.generative.layout import CHANNELS, PAINTED, shapes
from pipeline.fill.generative.onnx_net import INPUT, OUTPUT, graph, read
from pipeline.fill.generative.torch_net import Generator
from pipeline.fill.generative.train import validate
from pipeline.fill.shared.windows import FillWindow, Windowing
from pipeline.models.onnx_session import session
from pipeline.models.weights import Weights
from tests.fakes.fill_samples import face, filled


@pytest.fixture(scope="module")
def drawn() -> Generator:
    """Weights that nobody trained."""
    torch.manual_seed(3)
    made = Generator().eval()
    torch.nn.init.normal_(made.paint.weight, std=0.1)
    return made


@pytest.fixture(scope="module")
def file(drawn, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "drawn.safetensors"
    save_file({name: value.half().numpy() for name, value in drawn.state_dict().items()}, path)
    return path


def made(path: Path, **more: object) -> Generative:
    weights = Weights(uri=path.as_uri(), sha256=sha256(path.read_bytes()).hexdigest(), licence="Apache-2.0")
    return Generative(model=weights, windowing=Windowing(side=256), **more)


def test_the_plan_is_the_network_and_it_is_small(drawn, file):
    assert {name: tuple(value.shape) for name, value in drawn.state_dict().items()} == shapes()
    assert sum(value.numel() for value in drawn.parameters()) <= 6_000_000
    assert file.stat().st_size <= 12 << 20


@pytest.mark.parametrize(("count", "height", "width"), [(1, 64, 64), (2, 40, 104)])
def test_the_graph_answers_as_the_torch_network(drawn, count, height, width):
    rng = np.random.default_rng(0)
    batch = rng.uniform(-1, 1, (count, CHANNELS, height, width)).astype(np.float32)
    batch[:, 3] = batch[:, 3] > 0
    weights = {name: value.numpy() for name, value in drawn.state_dict().items()}
    (answer,) = session(graph(weights), "cpu", 1).run([OUTPUT], {INPUT: batch})
    with torch.no_grad():
        expected = drawn(torch.from_numpy(batch)).numpy()
    assert np.abs(answer - expected).max() < 1e-3
    assert np.abs(expected).max() > 0.1


def test_training_and_running_see_a_window_alike(drawn, file):
    """The same window through the training's own path and through the fill, with the weights in half precision."""
    rgb, mask = face()
    rgb, mask = rgb[:256, 100:356], mask[:256, 100:356]
    half = Generator().eval()
    half.load_state_dict({name: torch.from_numpy(value).float() for name, value in load_file(file).items()})
    expected = validate.fill(half, rgb, mask).astype(int)
    network = session(graph(read(file)), "cpu", 1)
    blank = np.where(mask[..., None], 7, rgb).astype(np.uint8)
    (answer,) = network.run([OUTPUT], {INPUT: inputs([FillWindow(pixels=blank, mask=mask, seed=11)])})
    painted = ((answer[0].transpose(1, 2, 0) + 1) * 127.5).clip(0, 255)
    assert np.abs(painted - expected)[mask].max() <= 1


def test_the_same_bytes_on_every_load_and_nothing_of_what_was_there(file):
    rgb, mask = face()
    fill = made(file)
    first = filled(rgb, mask, fill)
    other = rgb.copy()
    other[mask] = np.random.default_rng(1).integers(0, 256, (int(mask.sum()), 3))
    assert (filled(other, mask, made(file)) == first).all()
    assert (first[~mask] == rgb[~mask]).all()
    assert (first[mask] != rgb[mask]).any(axis=-1).mean() > 0.95
    assert (filled(rgb, mask, fill, image_id="b") == first).all()  # nothing in it is drawn by lot


def test_weights_of_another_network_are_refused(drawn, tmp_path):
    tensors = {name: value.half().numpy() for name, value in drawn.state_dict().items()}
    for name, value, expected in [
        ("paint.bias", None, "lacks paint.bias"),
        ("more", np.zeros(1, np.float16), "it has more"),
        ("paint.bias", np.zeros(3, np.float16), r"paint.bias: expected shape \(5,\), got \(3,\)"),
        ("paint.bias", np.full(PAINTED, np.nan, np.float16), "paint.bias: expected finite"),
    ]:
        path = tmp_path / "odd.safetensors"
        save_file({n: v for n, v in {**tensors, name: value}.items() if v is not None}, path)
        with pytest.raises(ConfigError, match=expected):
            made(path).check()
    path.write_bytes(b"\x10\x00\x00\x00\x00\x00\x00\x00not a header at ")
    with pytest.raises(ConfigError, match="not a safetensors file"):
        made(path).check()


def test_mistakes_are_named(file):
    weights = made(file).model
    with pytest.raises(ConfigError, match=r"windowing.multiple: expected a multiple of 8, got 4"):
        Generative(model=weights, windowing=Windowing(side=256, multiple=4))
    with pytest.raises(ConfigError, match=r"safetensors file"):
        Generative(model=Weights(uri="file:/m.onnx", sha256="0" * 64, licence="MIT"), windowing=Windowing())


def test_torch_is_not_needed():
    code = "import sys; import pipeline.fill.generative.fill; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
