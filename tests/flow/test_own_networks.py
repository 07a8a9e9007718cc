"""FCN and U-Net: trained for a few seconds on drawings, then through the whole chain on drawings they never saw."""

import re
from pathlib import Path

import pytest
import torch

from jobs.entry import main
from pipeline.segment.nets.fcn import FCN
from pipeline.segment.nets.unet import UNet
from tests.fakes.drawn_images import annotate, folder_of, mean_overlap
from tests.fakes.network_training import cross_entropy, saved, train
from tests.fakes.terminal import but_signs

HELD_OUT = range(6)
NAMES = "names=[ground,disc,square]"


def overrides(family: str, weights: list[str], *more: str) -> list[str]:
    return [f"segment=[{family}]", *(f"segment.{family}.{value}" for value in (*weights, NAMES, *more))]


def test_unet_learns_the_drawings(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = UNet(classes=3, width=8, depth=2)
    train(module, cross_entropy(module), steps=40, rate=0.02)
    weights = saved(module, tmp_path / "unet.safetensors")
    source = folder_of(tmp_path / "drawings", HELD_OUT)
    rows = annotate(source, tmp_path / "out", *overrides("unet", weights, "width=8", "depth=2"))
    assert mean_overlap(rows, HELD_OUT) >= 0.9


def test_fcn_learns_the_drawings(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = FCN(classes=3, width=8, stride=8)
    train(module, cross_entropy(module), steps=80, rate=0.02, side=128, count=2)
    weights = saved(module, tmp_path / "fcn.safetensors")
    source = folder_of(tmp_path / "drawings", HELD_OUT, 144, 192)
    rows = annotate(source, tmp_path / "out", *overrides("fcn", weights, "width=8"))
    assert mean_overlap(rows, HELD_OUT, 144, 192) >= 0.9


@pytest.mark.parametrize("stride", [8, 16, 32])
def test_fcn_scores_every_pixel_at_every_stride(stride: int) -> None:
    assert FCN(classes=5, width=2, stride=stride)(torch.zeros(2, 3, 64, 96)).shape == (2, 5, 64, 96)


@pytest.mark.promise("A run that cannot work is refused in one line and writes nothing")
def test_weights_of_another_width_are_refused_by_the_first_tensor(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = saved(UNet(classes=3, width=4, depth=1), tmp_path / "unet.safetensors")
    source = folder_of(tmp_path / "drawings", range(1))
    places = [f"source.uri={source}", f"sink.uri={tmp_path / 'out'}", "execute=local"]
    assert main("annotate", [*places, *overrides("unet", weights, "width=8", "depth=1")]) == 2
    said = capsys.readouterr().err
    assert len(but_signs(said)) == 1
    assert re.search(r"unet.safetensors does not fit .* down\S+: expected \(8.*got \(4", said), said
    assert not (tmp_path / "out").exists()
