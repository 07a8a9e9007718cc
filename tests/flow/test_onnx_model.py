"""Any ONNX network through the whole chain: a real one (a convolution that tells three colours apart), built here in
every form that a yaml can describe."""

import hashlib
import re
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from jobs.entry import main
from tests.fakes.drawn_images import NAMES, annotate, folder_of, mean_overlap

SEEDS = range(3)


def network(path: Path, result: str, layout: str, size: tuple[int, int] = (96, 128), channels: int = 3) -> Path:
    """What is red is a disc, what is blue a square: scores of three classes from a convolution of one pixel."""
    kernel = np.zeros((3, 3, 1, 1), np.float32)
    kernel[1, :, 0, 0], kernel[2, :, 0, 0] = (8, -4, -4), (-4, -4, 8)
    nodes, at = [], "x"
    if layout == "nhwc":
        nodes.append(helper.make_node("Transpose", ["x"], ["planes"], perm=[0, 3, 1, 2]))
        at = "planes"
    nodes.append(helper.make_node("Conv", [at, "kernel", "bias"], ["scores"]))
    shape: list[str | int | None] = ["n", 3, *size]
    kind = TensorProto.FLOAT
    if result in ("probabilities", "binary"):
        nodes.append(helper.make_node("Softmax", ["scores"], ["likely"], axis=1))
    if result == "binary":
        nodes.append(helper.make_node("Gather", ["likely", "one"], ["y"], axis=1))
        shape = ["n", *size]
    elif result == "label_map":
        nodes.append(helper.make_node("ArgMax", ["scores"], ["y"], axis=1, keepdims=0))
        shape, kind = ["n", *size], TensorProto.INT64
    else:
        last = nodes[-1].output[0]
        if layout == "nhwc":
            nodes.append(helper.make_node("Transpose", [last], ["y"], perm=[0, 2, 3, 1]))
            shape = ["n", *size, 3]
        else:
            nodes.append(helper.make_node("Identity", [last], ["y"]))
    seen: list[str | int | None] = ["n", channels, *size] if layout == "nchw" else ["n", *size, channels]
    weights = [
        numpy_helper.from_array(kernel, "kernel"),
        numpy_helper.from_array(np.array([3, 0, 0], np.float32), "bias"),
        numpy_helper.from_array(np.array(1), "one"),
    ]
    graph = helper.make_graph(
        nodes,
        "colours",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, seen)],
        [helper.make_tensor_value_info("y", kind, shape)],
        weights,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


def described(path: Path, result: str, layout: str = "nchw", names: str = "[ground,disc,square]") -> list[str]:
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    values = {
        "model.uri": path.as_uri(), "model.sha256": sha256, "model.licence": "MIT", "names": names, "result": result,
        "layout": layout, "height": 96, "width": 128, "mean": "[0,0,0]", "std": "[1,1,1]",
    }  # fmt: skip
    return ["segment=[onnx_model]", *(f"segment.onnx_model.{key}={value}" for key, value in values.items())]


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
    assert {(row["class_id"], row["label"]) for row in rows} == set(enumerate(NAMES))
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
    assert said.count("\n") == 1
    assert re.search(expected, said), said
    assert not (tmp_path / "out").exists()
