"""A .tflite file is read as data: a damaged one is an error of one line, whatever its numbers lead to."""

import random
from pathlib import Path

import numpy as np
import pytest

from pipeline import build
from pipeline.errors import WeightsError
from pipeline.models.tflite_file import Tensor, read
from pipeline.models.tflite_graph import load_tflite


@pytest.fixture(scope="module")
def person() -> Path:
    flow = build.build(
        build.compose("annotate", ["source.uri=a", "sink.uri=b", "segment=[person]", "execute=local"])
    ).flow
    return flow.weights[0].fetch()


def test_a_network_is_read_as_records(person: Path) -> None:
    network = read(person)
    assert [network.tensors[one].shape for one in (*network.inputs, *network.outputs)] == [
        (1, 256, 256, 3),
        (1, 256, 256, 1),
    ]
    assert [one.kind for one in network.operators][-2:] == ["Convolution2DTransposeBias", "LOGISTIC"]
    assert {one.data.dtype for one in network.tensors if one.data is not None} == {
        np.dtype(np.float16),
        np.dtype(np.int32),
    }


def test_a_damaged_file_is_one_line_or_another_network(person: Path, tmp_path: Path) -> None:
    """Bytes of the structure, which stands behind the numbers in this file, and a cut: never another exception."""
    data, chance, messages = person.read_bytes(), random.Random(0), []
    file = tmp_path / "damaged.tflite"
    for trial in range(120):
        changed = bytearray(data if trial % 3 else data[: chance.randrange(8, len(data))])
        for _ in range(20):
            changed[chance.randrange(len(changed))] = chance.randrange(256)
        file.write_bytes(changed)
        messages.append(said(file))
    assert sum(bool(message) for message in messages) > 30
    assert not any("\n" in message for message in messages)


def said(file: Path) -> str:
    try:
        load_tflite(file)
    except WeightsError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    ("stored", "zero", "dtype", "low", "high"), [(3, 128, np.uint8, -128, 127), (3, 0, np.int8, -128, 127)]
)
def test_numbers_of_a_scale(stored: int, zero: int, dtype: type, low: float, high: float) -> None:
    tensor = Tensor(
        name="a",
        shape=(2, 1),
        dtype=np.dtype(dtype),
        data=np.array([[stored], [stored + 1]], dtype),
        scale=np.array([0.5, 2], np.float32),
        zero_point=np.array([zero, zero], np.int64),
        axis=0,
    )
    assert tensor.quantized
    assert tensor.values().tolist() == [[(stored - zero) * 0.5], [(stored + 1 - zero) * 2.0]]
    assert tensor.range == (low * 0.5, high * 0.5)
