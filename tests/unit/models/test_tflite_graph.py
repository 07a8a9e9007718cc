"""Every .tflite file that a config names answers as LiteRT, Google's own runtime, does."""

import functools
import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from pipeline import build
from pipeline.errors import WeightsError
from pipeline.models.onnx_session import session
from pipeline.models.tflite_file import read
from pipeline.models.tflite_graph import load_tflite
from pipeline.models.weights import Weights
from pipeline.records import Rgb
from tests.fakes.class_photos import at_hand, class_photo
from tests.golden.make import photo

NAMED = {
    uri: (digest, path.stem)
    for path in sorted(build.CONF.rglob("*.yaml"))
    for uri, digest in re.findall(r"uri: (\S+\.tflite)\s+sha256: ([0-9a-f]{64})", path.read_text())
}
"""Address -> sha256 and the choice of every such file in conf/."""
FILES = pytest.mark.parametrize("uri", NAMED, ids=[choice for _, choice in NAMED.values()])


@functools.cache
def fetched(uri: str) -> Path:
    return at_hand(Weights(uri=uri, sha256=NAMED[uri][0], licence="MIT")).fetch()


def picture(uri: str) -> Rgb:
    return class_photo("cityscapes").rgb if "cityscapes" in uri else photo("astronaut")


def both(file: Path, rgb: Rgb) -> list[tuple[NDArray[Any], NDArray[Any]]]:
    """LiteRT's answers and ours for a picture, in TensorFlow's order of axes."""
    network = read(file)
    tensor = network.tensors[network.inputs[0]]
    small = cv2.resize(rgb, tensor.shape[2:0:-1], interpolation=cv2.INTER_AREA)[None]
    if tensor.quantized:
        stored, meant = small, ((small - float(tensor.zero_point[0])) * tensor.scale[0]).astype(np.float32)
    else:
        stored = meant = (small / np.float32(127.5) - 1).astype(np.float32)
    theirs = Interpreter(str(file), num_threads=1)
    theirs.allocate_tensors()
    theirs.set_tensor(theirs.get_input_details()[0]["index"], stored)
    theirs.invoke()
    wanted = [theirs.get_tensor(answer["index"]) for answer in theirs.get_output_details()]
    ours = session(load_tflite(file), "cpu", 1)
    found = ours.run(None, {"image": np.ascontiguousarray(meant.transpose(0, 3, 1, 2))})
    assert [answer["name"] for answer in theirs.get_output_details()] == [answer.name for answer in ours.get_outputs()]
    return [
        (want, got.transpose(0, 2, 3, 1) if got.ndim == 4 else got) for want, got in zip(wanted, found, strict=True)
    ]


@FILES
def test_it_answers_as_litert_does(uri: str) -> None:
    """Float networks to 1e-3; quantized ones, which are not rounded here, with the same class on most pixels, and with
    the same boxes where they see something."""
    file = fetched(uri)
    network, answers = read(file), both(file, picture(uri))
    assert [found.shape for _, found in answers] == [wanted.shape for wanted, _ in answers]
    if not network.tensors[network.inputs[0]].quantized:
        assert max(float(np.abs(found - wanted).max()) for wanted, found in answers) < 1e-3
    elif len(answers) == 1:
        ((wanted, found),) = answers
        assert float((found == wanted).mean()) >= 0.96
    else:
        (classes, our_classes), (boxes, our_boxes) = ((wanted[0], found[0]) for wanted, found in answers)
        likely = classes.max(axis=1) > 0.5
        assert likely.sum() > 5
        assert (classes[likely].argmax(axis=1) == our_classes[likely].argmax(axis=1)).all()
        assert float(np.abs(classes - our_classes)[likely].max()) < 0.05
        assert float(np.abs(boxes - our_boxes)[likely].max()) < 0.05  # of the anchor's size


def _odd(file: Path) -> int:
    network = read(file)
    return network.tensors[network.inputs[0]].shape[1] % 2


@FILES
def test_it_takes_images_of_other_sizes_and_several_at_a_time(uri: str) -> None:
    """An image alone and in a batch has the same answer; a network of classes answers at the image's size."""
    graph = load_tflite(fetched(uri))
    made = session(graph, "cpu", 1)
    odd = _odd(fetched(uri))  # DeepLab wants 16 n + 1
    two = np.random.default_rng(0).random((2, 3, 256 + odd, 384 + odd), dtype=np.float32)
    together = made.run(None, {"image": two})
    for row in range(2):
        for whole, alone in zip(together, made.run(None, {"image": two[row : row + 1]}), strict=True):
            np.testing.assert_allclose(whole[row], alone[0], atol=1e-4)
    if len(together) == 1:
        assert together[0].shape[-2:] == two.shape[-2:]


def test_a_tensor_inside_can_be_the_answer() -> None:
    uri = next(uri for uri, (_, choice) in NAMED.items() if choice == "objects")
    network = read(fetched(uri))
    inner = network.tensors[network.operators[-1].inputs[0]]
    graph = load_tflite(fetched(uri), (inner.name,))
    assert [value.name for value in graph.graph.output] == [inner.name]
    answer = session(graph, "cpu", 1).run(None, {"image": np.zeros((1, 3, 257, 257), np.float32)})[0]
    assert answer.shape == (1, 21, 33, 33)
    with pytest.raises(WeightsError, match="has no tensor 'nothing'"):
        load_tflite(fetched(uri), ("nothing",))


def test_an_operator_that_is_not_supported_is_named(tmp_path: Path) -> None:
    uri = next(uri for uri, (_, choice) in NAMED.items() if choice == "person")
    known = b"Convolution2DTransposeBias"
    data = fetched(uri).read_bytes()
    assert data.count(known) == 1
    (tmp_path / "own.tflite").write_bytes(data.replace(known, b"Convolution3DTransposeBias"))
    with pytest.raises(WeightsError, match=r"own\.tflite: operator Convolution3DTransposeBias is not supported"):
        load_tflite(tmp_path / "own.tflite")
