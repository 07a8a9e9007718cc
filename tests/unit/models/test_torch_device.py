"""How a torch network is made ready: compiled or not it answers the same, and what it saw before leaves no trace."""

import hashlib
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from pipeline.errors import ConfigError, RefusedError
from pipeline.image.view import Fit
from pipeline.models.torch_device import compiled
from pipeline.models.torch_options import TorchOptions
from pipeline.models.weights import Weights
from pipeline.records import Tile, View
from pipeline.segment.nets.unet import UNet
from pipeline.segment.shared.preprocess import Preprocess
from pipeline.segment.shared.sliding_window import SlidingWindow
from pipeline.segment.shared.torch_runner import ClassNet, Net
from pipeline.segment.unet import Unet

PIXELS = np.random.default_rng(0).integers(0, 256, (32, 48, 3)).astype(np.uint8)


def network() -> torch.nn.Module:
    torch.manual_seed(0)
    return UNet(classes=3, width=4, depth=1)


def logits(module: torch.nn.Module, batch: torch.Tensor) -> torch.Tensor:
    answer: torch.Tensor = module(batch)
    return answer


@pytest.mark.chaos  # a minute or two of the C++ compiler
@pytest.mark.timeout(900)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own, as it imports its compiler
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler on the CPU")
def test_compiled_it_answers_as_it_does_without() -> None:
    plain, fast = (Net(network(), "cpu", 1, TorchOptions(compile=compile)) for compile in (False, True))
    for tile in (PIXELS, PIXELS[:, :40]):
        call = partial(logits, batch=plain.stacked([tile], Preprocess()))
        wanted, found = (net.run(call) for net in (plain, fast))
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
    ((_, one),) = ClassNet(plain, Preprocess(), logits).each([PIXELS], [(32, 48)])
    ((_, other),) = ClassNet(fast, Preprocess(), logits).each([PIXELS], [(32, 48)])
    assert (one.ids == other.ids).mean() > 0.999


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_without_a_compiler_it_is_refused_as_it_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torch._inductor import config

    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(config.cpp, "cxx", (str(tmp_path / "missing"),))
    torch._dynamo.reset()
    with pytest.raises(
        RefusedError, match=r"run\.compile=true: torch\.compile does not work here .* or leave it false"
    ):
        compiled(network(), torch.device("cpu"))
    torch._dynamo.reset()


@pytest.mark.parametrize("sliding_window", [SlidingWindow(), SlidingWindow(overlap=8, flip=True)])
def test_what_it_saw_while_it_warmed_up_changes_no_answer(sliding_window: SlidingWindow, tmp_path: Path) -> None:
    file = tmp_path / "unet.safetensors"
    save_file({name: value.contiguous() for name, value in network().state_dict().items()}, file)
    model = Weights(uri=file.as_uri(), sha256=hashlib.sha256(file.read_bytes()).hexdigest(), licence="MIT")
    answers = []
    for warm_up in ((), ((32, 48), (100, 30), (1, 1))):
        run = TorchOptions(batch=2, warm_up=warm_up)
        spec = Unet(
            model=model, names=("a", "b", "c"), side=32, width=4, depth=1, sliding_window=sliding_window, run=run
        )
        tiles = [
            Tile(pixels=PIXELS[int(w.box[1]) :, int(w.box[0]) :][: w.height, : w.width], box=w.box)
            for w in spec.view.windows(32, 48)
        ]
        if isinstance(spec.view, Fit):
            tiles = [Tile(pixels=PIXELS, box=(0.0, 0.0, 48.0, 32.0))]
        answers.append(spec.load("cpu", 1)([View(image_id="i", height=32, width=48, tiles=tuple(tiles))] * 3))
    assert answers[0] == answers[1]
    assert answers[0][0].segments


@pytest.mark.parametrize("warm_up", [((1080,),), ((0, 5),), ((1080, "1920"),), (1080, 1920)])
def test_sizes_that_are_none_are_refused(warm_up: object) -> None:
    with pytest.raises(ConfigError, match=r"warm_up.*: expected a list, each a list of 2, .* from 1 to 32768, got"):
        TorchOptions(warm_up=warm_up)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="compile: expected true or false"):
        TorchOptions(compile="yes")  # type: ignore[arg-type]
