"""A model in several files (its config, its weights, its words), as model hubs keep them: where it is, and its hashes.

Nothing but the named files is ever read, each one verified: no code of a repository, no pickle, no adapter beside it.
"""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

from pipeline.errors import ConfigError, WeightsError
from pipeline.models.weights import Weights

_HF: Final = re.compile(r"hf:(?P<repository>[\w.-]+/[\w.-]+)@(?P<revision>[0-9a-f]{40})")
_FILE: Final = re.compile(r"([\w-][\w.-]*/)*[\w-][\w.-]*\.(json|txt|safetensors)")
"""In sub-folders too, as pipelines of several networks have them; no part begins with a dot, so none leads out."""


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A folder of files.

    licence: of the weights, its SPDX name where it has one. uri: `hf:OWNER/NAME@REVISION` (a commit, 40 hex digits),
    `s3://bucket/prefix`, `https://host/prefix`, or "" when there is only a local folder. files: what is read of it, in
    sub-folders too (`unet/config.json`). sha256: of each of `files`, in their order, "" for what is not known. folder:
    a local copy; where no hash is given its files are hashed when the run begins, and every worker must find the same
    ones. Raises ConfigError.
    """

    licence: str
    uri: str = ""
    files: tuple[str, ...] = ("config.json", "preprocessor_config.json", "model.safetensors")
    sha256: tuple[str, ...] = ()
    folder: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.licence, str) or not self.licence:
            raise ConfigError(f"model.licence: expected the name of a licence, got {self.licence!r}")
        if self.uri.startswith("hf:") and not _HF.fullmatch(self.uri):
            raise ConfigError(
                f"model.uri: expected hf:OWNER/NAME@REVISION, REVISION a commit of 40 hex digits, got {self.uri!r}"
            )
        if not self.uri and not self.folder:
            raise ConfigError("model.folder: expected the folder of a checkpoint (config.json, model.safetensors)")
        for file in self.files:
            if not _FILE.fullmatch(file):
                raise ConfigError(f"model.files: expected names of .safetensors, .json or .txt files, got {file!r}")
        if self.sha256 and len(self.sha256) != len(self.files):
            raise ConfigError(f"model.sha256: expected one for each of {len(self.files)} files, got {len(self.sha256)}")
        for digest in self.sha256:
            if digest and not re.fullmatch(r"[0-9a-f]{64}", digest):
                raise ConfigError(f"model.sha256: expected 64 lower-case hex digits each, got {digest!r}")

    @cached_property
    def weights(self) -> tuple[Weights, ...]:
        """One a file, in the order of `files`. Raises WeightsError when neither hashes nor a folder are given.

        What a folder's files hash to is kept with this object, also when it is pickled: a worker that finds other bytes
        in its folder is refused them.
        """
        known = self.sha256 or ("",) * len(self.files)
        hashes = [digest or self._hash(file) for file, digest in zip(self.files, known, strict=True)]
        where = Path(self.folder).absolute().as_uri() if self.folder else self.uri.rstrip("/")
        return tuple(
            Weights(uri=f"{where}/{file}", sha256=digest, licence=self.licence)
            for file, digest in zip(self.files, hashes, strict=True)
        )

    @property
    def tag(self) -> str:
        """How the tables name the model: repository or folder, and the start of the weights' hash."""
        match = _HF.fullmatch(self.uri)
        name = match["repository"].rpartition("/")[2] if match else Path(self.folder or self.uri).name
        largest = next(w for w in reversed(self.weights) if w.path.suffix == ".safetensors")
        return f"{name}-{largest.sha256[:8]}"

    def read(self, file: str) -> Mapping[str, object]:
        """A JSON file of the checkpoint, {} when it is none of `files`. Raises WeightsError."""
        if file not in self.files:
            return {}
        try:
            found = json.loads(self._fetch(self.weights[self.files.index(file)]).read_bytes())
        except ValueError as error:
            raise WeightsError(f"{self._where}: {file} is not readable JSON ({error}); is it the model's?") from error
        if not isinstance(found, dict):
            raise WeightsError(f"{self._where}: {file} holds no JSON object; is it the model's?")
        return found

    @contextmanager
    def fetched(self) -> Iterator[Path]:
        """A folder with the verified files and nothing else, for as long as it takes to load them."""
        with tempfile.TemporaryDirectory(prefix="segfill-model-") as folder:
            for file, weights in zip(self.files, self.weights, strict=True):
                place = Path(folder) / file
                place.parent.mkdir(parents=True, exist_ok=True)
                place.symlink_to(self._fetch(weights))
            yield Path(folder)

    def _fetch(self, weights: Weights) -> Path:
        try:
            return weights.fetch()
        except WeightsError as error:
            if not (self.folder and self.sha256 and self.uri):
                raise
            raise WeightsError(
                f"model.folder: expected a copy of {self.uri}: {error}; for another checkpoint give model.sha256=[] too"
            ) from error

    @property
    def _where(self) -> str:
        return self.folder or self.uri

    def _hash(self, file: str) -> str:
        if not self.folder:
            match = _HF.fullmatch(self.uri)
            what = f"revision {match['revision']} of {match['repository']}" if match else self.uri
            raise WeightsError(
                f"model.folder: not every hash of {self.uri} is known here; download {what} "
                f"({', '.join(self.files)}) and give its folder, or give the files' hashes in model.sha256"
            )
        try:
            with (Path(self.folder) / file).open("rb") as stream:
                return hashlib.file_digest(stream, "sha256").hexdigest()
        except OSError as error:
            raise WeightsError(
                f"model.folder: {self.folder} lacks {file} ({type(error).__name__}); expected {', '.join(self.files)}"
            ) from error
