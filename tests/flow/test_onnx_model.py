"""Any ONNX network through the whole chain: a real one (a convolution that tells three colours apart), built here in
every form that a yaml can describe."""

import hashlib
import re
from pathlib import Path

import pytest

from jobs.entry import main
from tests.fakes.drawn_images import NAMES, annotate, folder_of, mean_overlap
from tests.fakes.onnx_segmenter import described, network
from tests.fakes.terminal import but_signs

SEEDS = range(3)


@pytest.fixture(scope="module")
def drawings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder_of(tmp_path_factory.mktemp("onnx") / "drawings", SEEDS)


@pytest.mark.parametrize(
    ("result", "layout"), [("logits", "nchw"), ("probabilities", "nhwc"), ("label_map", "nchw"), ("label_map", "nhwc")]
)
def test_every_form_finds_the_drawn_classes(result: str, layout: str, drawings: Path, tmp_path: Path) -> None:
    model = network(tmp_path / "colours.onnx", result, layout)
    rows = annotate(drawings, tmp_path / "out", *described(model, result, layout))
    assert mean_overlap(rows, SEEDS) > 0.99
    assert {(row["class_id"], row["label"]) for row in rows} == set(enumerate(NAMES, 1))
    assert all(0.6 < row["score"] <= 1 for row in rows)
    assert {row["model"] for row in rows} == {f"colours-{hashlib.sha256(model.read_bytes()).hexdigest()[:8]}"}


def test_a_binary_network_finds_the_one_class(drawings: Path, tmp_path: Path) -> None:
    model = network(tmp_path / "discs.onnx", "binary", "nchw")
    rows = annotate(drawings, tmp_path / "out", *described(model, "binary", names="[disc]"))
    assert [row["label"] for row in rows] == ["disc"] * len(SEEDS)
    whole = annotate(drawings, tmp_path / "all", *described(network(tmp_path / "a.onnx", "logits", "nchw"), "logits"))
    discs = {row["seed"]: row["mask"] for row in whole if row["label"] == "disc"}
    for row in rows:
        assert (row["mask"] == discs[row["seed"]]).mean() > 0.995


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["segment.onnx_model.names=[ground,disc]"], r"expected an output 'y' of \?x2x\?x\?, got \?x3x96x128"),
        (["segment.onnx_model.height=64"], r"expected an input 'x' of \?x3x64x128 .* got \?x3x96x128"),
        (["segment.onnx_model.layout=nhwc"], r"expected an input 'x' of \?x96x128x3 .* got \?x3x96x128"),
        (["segment.onnx_model.output=scores"], "expected an output 'scores', got y"),
        (["segment.onnx_model.result=binary", "segment.onnx_model.names=[disc]"], r"of \?x1x\?x\? or \?x\?x\?"),
        (["segment.onnx_model.keep_aspect=true", "segment.onnx_model.height=128"], "of any size"),
    ],
)
@pytest.mark.promise("A run that cannot work is refused in one line and writes nothing")
def test_a_description_that_does_not_fit_the_file_is_refused_before_anything_is_written(
    overrides: list[str], expected: str, drawings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = network(tmp_path / "colours.onnx", "logits", "nchw")
    places = [f"source.uri={drawings}", f"sink.uri={tmp_path / 'out'}", "execute=local"]
    assert main("annotate", [*places, *described(model, "logits"), *overrides]) == 2
    said = capsys.readouterr().err
    assert len(but_signs(said)) == 1
    assert re.search(expected, said), said
    assert not (tmp_path / "out").exists()
