"""Numbers come out of a .pt file, and nothing in it is ever run."""

import io
import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import ConfigError, WeightsError
from pipeline.models.weights import Weights
from pipeline.segment.nets.torch_pickle import read_state_dict
from tests.fakes.segmenter_views import spec_of

MAGIC = pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2)
FACTS = pickle.dumps({"little_endian": True}, 2)


def tensor(count: int, shape: bytes, strides: bytes, *, offset: int = 0, kind: bytes = b"FloatStorage") -> bytes:
    """A pickle of one tensor `w` in a storage `0`, as torch writes it. shape, strides: opcodes of a tuple."""
    storage = b"(X\7\0\0\0storagectorch\n" + kind + b"\nX\1\0\0\x000X\3\0\0\0cpuK" + bytes([count]) + b"NtQ"
    rebuilt = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + b"K" + bytes([offset]) + shape + strides
    return b"\x80\2ccollections\nOrderedDict\n)R(X\1\0\0\0w" + rebuilt + b"\x89ccollections\nOrderedDict\n)RtRu."


def file(tmp_path: Path, body: bytes, values: list[float] | None = None, *, head: bytes = MAGIC + FACTS) -> Path:
    numbers = np.arange(6, dtype="<f4") if values is None else np.array(values, "<f4")
    path = tmp_path / "w.pt"
    path.write_bytes(head + body + pickle.dumps(["0"], 2) + len(numbers).to_bytes(8, "little") + numbers.tobytes())
    return path


TWO_BY_THREE, BY_ROWS, BY_COLUMNS = b"K\2K\3\x86", b"K\3K\1\x86", b"K\1K\2\x86"


def test_tensors_in_either_order(tmp_path: Path) -> None:
    rows = read_state_dict(file(tmp_path, tensor(6, TWO_BY_THREE, BY_ROWS)))
    np.testing.assert_array_equal(rows["w"], [[0, 1, 2], [3, 4, 5]])
    columns = read_state_dict(file(tmp_path, tensor(6, TWO_BY_THREE, BY_COLUMNS)))
    np.testing.assert_array_equal(columns["w"], [[0, 2, 4], [1, 3, 5]])
    assert rows["w"].dtype == np.float32


def test_the_real_weights() -> None:
    weights = read_state_dict(spec_of("mtcnn").onet.fetch())
    assert weights["dense5.weight"].shape == (256, 1152)
    assert sum(array.size for array in weights.values()) == 389040


class Touch:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("place", ["magic", "facts", "tensors", "keys"])
def test_a_pickle_that_would_run_something_is_refused_and_not_run(place: str, tmp_path: Path) -> None:
    target = tmp_path / "ran"
    evil = pickle.dumps(Touch(target), 2)
    good = {"magic": MAGIC, "facts": FACTS, "tensors": tensor(6, TWO_BY_THREE, BY_ROWS), "keys": b""}
    path = tmp_path / "w.pt"
    path.write_bytes(b"".join(evil if part == place else data for part, data in good.items()))
    with pytest.raises(WeightsError, match=r"it names (posix|nt)\.mkdir"):
        read_state_dict(path)
    assert not target.exists()
    pickle.loads(evil)  # it is what it says it is
    assert target.exists()


@pytest.mark.parametrize(
    ("name", "opcodes"),
    [
        ("builtins.eval", b"cbuiltins\neval\n(X\1\0\0\x001tR."),
        ("torch._utils.other", b"ctorch._utils\nother\n."),
        ("collections.OrderedDict.fromkeys", b"\x80\4\x8c\x0bcollections\x8c\x14OrderedDict.fromkeys\x93."),
    ],
)
def test_every_other_name_is_refused(name: str, opcodes: bytes, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=f"it names {name}"):
        read_state_dict(file(tmp_path, opcodes))


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (tensor(6, b"K\3K\3\x86", BY_ROWS), "does not fit"),
        (tensor(6, TWO_BY_THREE, BY_ROWS, offset=1), "does not fit"),
        (tensor(5, TWO_BY_THREE, BY_ROWS), "does not fit"),
        (tensor(6, TWO_BY_THREE, b"K\0K\0\x86"), "expected a tensor"),
        (tensor(6, TWO_BY_THREE, b"K\1\x85"), "expected a tensor"),
        (tensor(6, TWO_BY_THREE, BY_ROWS, kind=b"HalfStorage"), "it names torch.HalfStorage"),
        (pickle.dumps([1], 2), "expected named tensors"),
        (b"", "not a readable state dict|expected named tensors"),
    ],
)
def test_what_does_not_fit_is_refused(body: bytes, expected: str, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=expected):
        read_state_dict(file(tmp_path, body))


def test_files_that_are_cut_longer_of_another_kind_or_not_finite_are_refused(tmp_path: Path) -> None:
    body = tensor(6, TWO_BY_THREE, BY_ROWS)
    whole = file(tmp_path, body).read_bytes()
    for data in (whole[:-1], whole + b"x", b"PK\3\4", b"", io.BytesIO(whole).read(40)):
        (tmp_path / "cut.pt").write_bytes(data)
        with pytest.raises(WeightsError, match=r"cut\.pt"):
            read_state_dict(tmp_path / "cut.pt")
    with pytest.raises(WeightsError, match="not finite"):
        read_state_dict(file(tmp_path, body, [0, 1, 2, 3, float("nan"), 5]))


def test_a_pt_is_let_in_only_where_it_is_said_to_be_a_state_dict() -> None:
    name = {"uri": "file:/models/w.pt", "sha256": "0" * 64, "licence": "MIT"}
    with pytest.raises(WeightsError, match="can run code"):
        Weights(**name)
    assert Weights(**name, state_dict=True).path.name == "w.pt"
    with pytest.raises(ConfigError, match=r"state_dict: expected a \.pt"):
        Weights(**{**name, "uri": "file:/models/w.pkl"}, state_dict=True)
