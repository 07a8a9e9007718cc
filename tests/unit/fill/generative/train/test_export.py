"""An export is the network that was trained, and holds its weights by their names."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from pipeline.errors import ConfigError
from pipeline.fill.generative.network_input import CHANNELS
from pipeline.fill.generative.train.export import export, load
from pipeline.fill.generative.train.generator import PAINTED, Generator
from pipeline.models.onnx_session import session


@pytest.fixture(scope="module")
def network() -> Generator:
    """Random weights that half precision holds exactly."""
    torch.manual_seed(3)
    made = Generator().eval()
    torch.nn.init.normal_(made.paint.weight, std=0.1)
    made.load_state_dict({name: value.half().float() for name, value in made.state_dict().items()})
    return made


@pytest.mark.parametrize(("count", "height", "width"), [(1, 64, 64), (2, 40, 104)])
def test_the_export_answers_as_the_network(
    network: Generator, count: int, height: int, width: int, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    batch = rng.uniform(-1, 1, (count, CHANNELS, height, width)).astype(np.float32)
    batch[:, 3] = batch[:, 3] > 0
    export(network, tmp_path / "a.onnx")
    (answer,) = session(tmp_path / "a.onnx", "cpu", 1).run(["painted"], {"window": batch})
    with torch.no_grad():
        expected = network(torch.from_numpy(batch)).numpy()
    assert np.abs(answer - expected).max() < 1e-3
    assert np.abs(expected).max() > 0.1


def test_weights_come_back_from_an_export_as_from_a_training(network: Generator, tmp_path: Path) -> None:
    export(network, tmp_path / "a.onnx")
    save_file(network.state_dict(), tmp_path / "a.safetensors")
    for file in (tmp_path / "a.onnx", tmp_path / "a.safetensors"):
        found = load(file).state_dict()
        assert found.keys() == network.state_dict().keys()
        assert all(torch.equal(found[name], value) for name, value in network.state_dict().items())
    export(load(tmp_path / "a.onnx"), tmp_path / "b.onnx")
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.onnx", "a.safetensors", "b.onnx"]
    assert (tmp_path / "a.onnx").stat().st_size < 4_000_000


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("paint.bias", None, r"Missing key.*paint.bias"),
        ("more", torch.zeros(1), r"Unexpected key.*more"),
        ("paint.bias", torch.zeros(3), r"size mismatch for paint.bias"),
        ("paint.bias", torch.full((PAINTED,), torch.nan), r"paint.bias: expected finite numbers"),
    ],
)
def test_weights_of_another_network_are_refused(
    network: Generator, name: str, value: torch.Tensor | None, expected: str, tmp_path: Path
) -> None:
    save_file(network.state_dict(), tmp_path / "odd.safetensors")
    tensors = {**load_file(tmp_path / "odd.safetensors"), name: value}
    save_file({n: v for n, v in tensors.items() if v is not None}, tmp_path / "odd.safetensors")
    with pytest.raises(ConfigError, match=rf"odd.safetensors: .*{expected}"):
        load(tmp_path / "odd.safetensors")


@pytest.mark.parametrize("name", ["a.onnx", "a.safetensors"])
def test_a_damaged_file_is_named(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"\x10\x00\x00\x00\x00\x00\x00\x00not a header at ")
    with pytest.raises(ConfigError, match=f"{name}: not a file of weights that can be read"):
        load(tmp_path / name)
    with pytest.raises(FileNotFoundError):
        load(tmp_path / f"none-{name}")
