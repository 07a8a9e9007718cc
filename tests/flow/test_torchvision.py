"""torchvision's networks: a clear message where it is missing, the whole line where it is there."""

from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from jobs.entry import main
from pipeline.models.weights import Weights
from pipeline.segment.torchvision import TorchvisionMaskRcnn, TorchvisionSemantic
from tests.fakes.drawn_images import annotate, folder_of
from tests.fakes.network_training import saved
from tests.fakes.terminal import but_signs

NAMED = Weights(uri="file:/m.safetensors", sha256="0" * 64, licence="MIT")
there = pytest.mark.skipif(find_spec("torchvision") is None, reason="torchvision is not installed")


@pytest.mark.skipif(find_spec("torchvision") is not None, reason="torchvision is installed")
@pytest.mark.parametrize("choice", ["fcn", "deeplabv3", "mask_rcnn"])
def test_without_torchvision_a_run_is_refused_in_one_line(
    choice: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places = [f"source.uri={tmp_path}", f"sink.uri={tmp_path / 'out'}", f"segment=[torchvision/{choice}]"]
    values = ("names=[a]", "model.uri=file:/m.safetensors", f"model.sha256={'0' * 64}", "model.licence=MIT")
    assert main("annotate", [*places, *(f"segment.torchvision.{value}" for value in values)]) == 2
    said = capsys.readouterr().err
    assert len(but_signs(said)) == 1
    assert "needs the package torchvision" in said
    assert not (tmp_path / "out").exists()


@there
def test_a_semantic_network_runs_through_the_chain(tmp_path: Path) -> None:
    spec = TorchvisionSemantic(arch="lraspp_mobilenet_v3_large", model=NAMED, names=("ground", "disc", "square"))
    run("fcn", spec.network(), tmp_path, "arch=lraspp_mobilenet_v3_large", "names=[ground,disc,square]")


@there
def test_mask_rcnn_runs_through_the_chain(tmp_path: Path) -> None:
    spec = TorchvisionMaskRcnn(arch="maskrcnn_resnet50_fpn", model=NAMED, names=("", "disc"), score=0.0)
    run("mask_rcnn", spec.network(), tmp_path, "names=['',disc]", "score=0", "side=128")


def run(choice: str, module: torch.nn.Module, folder: Path, *more: str) -> None:
    values = (*saved(module, folder / "m.safetensors"), *more)
    source = folder_of(folder / "in", range(1))
    rows = annotate(
        source, folder / "out", f"segment=[torchvision/{choice}]", *(f"segment.torchvision.{v}" for v in values)
    )
    assert {row["label"] for row in rows} <= {"ground", "disc", "square"}
    assert all(str(row["model"]).startswith("m-") for row in rows)
