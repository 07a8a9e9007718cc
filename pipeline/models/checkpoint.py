"""A model in several files (config, weights, tokenizer) as model hubs keep it.

Only the named files are read, each one verified: no code of a repository, no pickle, no adapter beside it.
"""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Annotated, Final

from pydantic import Field

from pipeline.errors import WeightsError
from pipeline.models.weights import Weights, check_uri
from pipeline.spec import FieldError, spec

_HF: Final = re.compile(r"hf:(?P<repository>[\w.-]+/[\w.-]+)@(?P<revision>[0-9a-f]{40})")
_FILE: Final = r"^([\w-][\w.-]*/)*[\w-][\w.-]*\.(json|txt|safetensors)$"  # no part begins with a dot: none leads out


@spec
class Checkpoint:
    """A model in several files: a folder, or a repository of a model hub."""

    licence: Annotated[str, Field(min_length=1)]
    """Licence of the weights: its SPDX name where it has one."""
    uri: str = ""
    """`hf:OWNER/NAME@REVISION` (a commit, 40 hex digits), `s3://bucket/prefix`, `https://host/prefix`, or '' when there
    is only a local folder."""
    files: tuple[Annotated[str, Field(pattern=_FILE, description="a .safetensors, .json or .txt file")], ...] = (
        "config.json",
        "preprocessor_config.json",
        "model.safetensors",
    )
    """The files to read, in sub-folders too (`unet/config.json`)."""
    sha256: tuple[
        Annotated[str, Field(pattern="^([0-9a-f]{64})?$", description="64 lower-case hex digits or ''")], ...
    ] = ()
    """Of each of `files`, in their order; '' for an unknown hash. Files of a local folder whose hash is unknown are
    hashed when the run begins, and every worker must find the same bytes."""
    folder: str = ""
    """A local copy; '' fetches the files from `uri`, which needs every hash."""

    def __post_init__(self) -> None:
        if self.uri.startswith("hf:") and not _HF.fullmatch(self.uri):
            raise FieldError(
                "uri", f": expected hf:OWNER/NAME@REVISION, REVISION a commit of 40 hex digits, got {self.uri!r}"
            )
        if not self.uri and not self.folder:
            raise FieldError("folder", ": expected the folder of a checkpoint (config.json, model.safetensors), got ''")
        if not self.folder:
            check_uri(f"{self.uri.rstrip('/')}/config.json")
        if self.sha256 and len(self.sha256) != len(self.files):
            raise FieldError("sha256", f": expected one for each of {len(self.files)} files, got {len(self.sha256)}")

    @cached_property
    def weights(self) -> tuple[Weights, ...]:
        """One per file, in the order of `files`. Raises WeightsError when neither hashes nor a folder are given.

        The hashes of a folder's files stay with this object, also when it is pickled, so a worker refuses a folder that
        holds other bytes.
        """
        known = self.sha256 or ("",) * len(self.files)
        hashes = [digest or self._hash(file) for file, digest in zip(self.files, known, strict=True)]
        root = Path(self.folder).absolute().as_uri() if self.folder else self.uri.rstrip("/")
        return tuple(
            Weights(uri=f"{root}/{file}", sha256=digest, licence=self.licence)
            for file, digest in zip(self.files, hashes, strict=True)
        )

    @property
    def tag(self) -> str:
        """The model's name in the tables: repository or folder, and the start of the weights' hash."""
        match = _HF.fullmatch(self.uri)
        name = match["repository"].rpartition("/")[2] if match else Path(self.folder or self.uri).name
        largest = next(w for w in reversed(self.weights) if w.path.suffix == ".safetensors")
        return f"{name}-{largest.sha256[:8]}"

    def read(self, file: str) -> Mapping[str, object]:
        """The content of a JSON file of the checkpoint, {} when it is not among `files`. Raises WeightsError."""
        if file not in self.files:
            return {}
        try:
            found = json.loads(self._fetch(self.weights[self.files.index(file)]).read_bytes())
        except ValueError as error:
            raise WeightsError(f"{self._root}: {file} is not readable JSON ({error}); is it the model's?") from error
        if not isinstance(found, dict):
            raise WeightsError(f"{self._root}: {file} holds no JSON object; is it the model's?")
        return found

    @contextmanager
    def fetched(self) -> Iterator[Path]:
        """Yield a temporary folder that holds the verified files and nothing else."""
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
    def _root(self) -> str:
        return self.folder or self.uri

    def _hash(self, file: str) -> str:
        if not self.folder:
            match = _HF.fullmatch(self.uri)
            what = f"revision {match['revision']} of {match['repository']}" if match else self.uri
            raise WeightsError(
                f"model.folder: not every hash of {self.uri} is known; download {what} "
                f"({', '.join(self.files)}) and give its folder, or give the files' hashes in model.sha256"
            )
        try:
            with (Path(self.folder) / file).open("rb") as stream:
                return hashlib.file_digest(stream, "sha256").hexdigest()
        except OSError as error:
            raise WeightsError(
                f"model.folder: {self.folder} lacks {file} ({type(error).__name__}); expected {', '.join(self.files)}"
            ) from error
