"""A graph with fixed sizes runs at any size, batches keep their order, and a missing GPU is said."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from pipeline.errors import RefusedError
from pipeline.segment.shared.onnx_runner import Model, open_dimensions


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """y = 2 * x, z = x + 2, declared for 10x3x4x4 only, with the weight listed as an input."""
    weight = numpy_helper.from_array(np.full((1,), 2, np.float32), "two")
    fixed = [10, 3, 4, 4]
    values = {name: helper.make_tensor_value_info(name, TensorProto.FLOAT, fixed) for name in "xyz"}
    listed = helper.make_tensor_value_info("two", TensorProto.FLOAT, [1])
    nodes = [helper.make_node("Mul", ["x", "two"], ["y"]), helper.make_node("Add", ["x", "two"], ["z"])]
    graph = helper.make_graph(nodes, "g", [values["x"], listed], [values["y"], values["z"]], [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=4)
    onnx.save(model, tmp_path / "model.onnx")
    return tmp_path / "model.onnx"


def test_sizes_are_free_and_weights_are_no_inputs(file: Path) -> None:
    graph = open_dimensions(file, ["z"]).graph
    assert [value.name for value in graph.input] == ["x"]
    assert [value.name for value in graph.output] == ["z"]
    model = Model(file, ["z", "y"], "cpu", 1)
    batch = np.arange(2 * 3 * 5 * 7, dtype=np.float32).reshape(2, 3, 5, 7)
    added, doubled = model(batch)
    np.testing.assert_array_equal(added, batch + 2)
    np.testing.assert_array_equal(doubled, batch * 2)


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_each_tile_gets_its_own_answer(file: Path, batch: int) -> None:
    sizes = [(4, 6), (8, 4), (4, 6), (4, 6), (8, 4)]
    tiles = [np.full((*size, 3), i, np.uint8) for i, size in enumerate(sizes)]
    model = Model(file, ["z"], "cpu", 1)
    answers = dict(model.each(tiles, lambda tile: tile.transpose(2, 0, 1).astype(np.float32), batch))
    assert sorted(answers) == [0, 1, 2, 3, 4]
    for i, (height, width) in enumerate(sizes):
        np.testing.assert_array_equal(answers[i][0], np.full((3, height, width), i + 2, np.float32))


@pytest.mark.skipif("CUDAExecutionProvider" in ort.get_available_providers(), reason="this onnxruntime has CUDA")
def test_a_gpu_that_is_not_there_is_refused(file: Path) -> None:
    with pytest.raises(RefusedError, match=r"device cuda: onnxruntime has only .*CPUExecutionProvider.*device=cpu"):
        Model(file, ["z"], "cuda", 1)
