"""Backend for Google Cloud Storage (gs) and Azure Blobs (az), through any fsspec file system with exclusive writes.

gcsfs and adlfs are not installed by default. The tests use fsspec's memory file system, not the clouds; the ledger's
probe refuses a store whose exclusive write overwrites.
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator, Mapping, Sequence
from typing import IO, Any

from fsspec import AbstractFileSystem

from pipeline.storage import ObjectInfo


class CloudBackend:
    """Objects whose names begin with `root` (bucket and prefix, without a slash at the end)."""

    proves_content = True  # the etags of both clouds change with every write

    def __init__(self, filesystem: AbstractFileSystem, root: str) -> None:
        self._fs = filesystem
        self._root = root

    def list(self, folder: str, limit: int, *, outside: bool = True, cuts: Sequence[str] = ()) -> list[ObjectInfo]:
        below = self._name(folder) if folder else self._root
        with self._only_os_errors():
            found = self._fs.find(below, detail=True)
        objects = [
            ObjectInfo(path=name.lstrip("/")[len(self._root) + 1 :], size=int(info["size"]), etag=_etag(info))
            for name, info in found.items()
            if info["type"] == "file" and not name.endswith("/")
        ]
        return objects[: limit or None]

    def stat(self, path: str, *, outside: bool = True) -> ObjectInfo:
        with self._only_os_errors():
            info = self._fs.info(self._name(path))
        if info["type"] != "file":
            raise FileNotFoundError(errno.ENOENT, "not an object")
        return ObjectInfo(path=path, size=int(info["size"]), etag=_etag(info))

    def read(self, path: str, etag: str) -> bytes:
        with self._only_os_errors():
            data = bytes(self._fs.cat_file(self._name(path)))
        self._expect(path, etag)
        return data

    def read_range(self, path: str, start: int, stop: int, etag: str) -> bytes:
        data = b""
        if start < self.stat(path).size:
            with self._only_os_errors():
                data = bytes(self._fs.cat_file(self._name(path), start=start, end=stop))
        self._expect(path, etag)
        return data

    def create(self, path: str, data: bytes) -> str:
        try:
            with self._only_os_errors():
                self._fs.pipe_file(self._name(path), data, mode="create")
        except FileExistsError:
            return ""
        return self.stat(path).etag

    def put(self, path: str, data: bytes) -> str:
        with self._only_os_errors():
            self._fs.pipe_file(self._name(path), data)
        return self.stat(path).etag

    def put_file(self, path: str, file: IO[bytes]) -> str:
        file.seek(0)
        return self.put(path, file.read())  # its writers publish half an object when they fail: in one piece, or not

    def delete(self, paths: Sequence[str]) -> None:
        for path in paths:
            with contextlib.suppress(FileNotFoundError), self._only_os_errors():
                self._fs.rm_file(self._name(path))

    def etag_of(self, data: bytes) -> str:
        return ""

    def sweep(self) -> None:
        """Do nothing: a killed put leaves no object."""

    def _name(self, path: str) -> str:
        return f"{self._root}/{path}"

    def _expect(self, path: str, etag: str) -> None:
        """Check the etag after the read: if it is still the expected one, it was during the read."""
        if etag and self.stat(path).etag != etag:
            raise OSError(errno.ESTALE, "the object is no longer the one that was listed")

    @contextlib.contextmanager
    def _only_os_errors(self) -> Iterator[None]:
        self._fs.invalidate_cache()
        try:
            yield
        except OSError:
            raise
        except Exception as error:
            raise OSError(errno.EIO, f"{type(error).__name__}: {error}") from error


def _etag(info: Mapping[str, Any]) -> str:
    """Read the etag: generation or etag of gcsfs, etag of adlfs, the time of fsspec's memory file system."""
    for name in ("generation", "etag", "ETag", "created"):
        if info.get(name):
            return str(info[name]).strip('"')
    return ""
