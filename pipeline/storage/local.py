"""Objects as files of a local or mounted folder."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import stat
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import TypeAlias

from pipeline.storage import ObjectInfo

_TEMPORARY = re.compile(r"\.segfill-[0-9a-f]{16}\.tmp")
"""The name of a file that is still being written."""
_TRIES = 5

_Key: TypeAlias = tuple[int, int]
"""Device and inode: the same for every path that leads to one folder."""


class LocalBackend:
    """Files below `root`, an absolute path. Folders come with the first file in them and go with the last."""

    proves_content = False

    def __init__(self, root: str) -> None:
        self._root = root

    # --- reading ---------------------------------------------------------------------------------------------

    def list(self, folder: str, limit: int) -> list[ObjectInfo]:
        """Regular files and links to them. A linked folder is entered too, unless it leads in a circle.
        Links to nowhere, pipes and devices are no files."""
        os.stat(self._root)  # a root that is not there is an error, an empty folder below it is not
        try:
            info = os.stat(self._path(folder))
        except FileNotFoundError:
            return []
        found = (ObjectInfo(path=path, size=i.st_size, etag=_etag(i)) for path, i in self._walk(folder, (_key(info),)))
        return list(islice(found, limit or None))

    def _walk(self, folder: str, above: tuple[_Key, ...]) -> Iterator[tuple[str, os.stat_result]]:
        """`above`: the folders from the root to this one, as `_key`."""
        try:
            with os.scandir(self._path(folder)) as scan:
                entries = sorted(scan, key=lambda entry: entry.name)
        except FileNotFoundError:  # its last file has just been deleted
            return
        for entry in entries:
            if _TEMPORARY.fullmatch(entry.name):
                continue
            path = f"{folder}/{entry.name}" if folder else entry.name
            try:
                info = os.stat(self._path(path))
            except OSError as error:
                if error.errno in (errno.ENOENT, errno.ELOOP):
                    continue
                raise
            if stat.S_ISREG(info.st_mode):
                yield path, info
            elif stat.S_ISDIR(info.st_mode) and _key(info) not in above:
                yield from self._walk(path, (*above, _key(info)))

    def stat(self, path: str) -> ObjectInfo:
        info = os.stat(self._path(path))
        if not stat.S_ISREG(info.st_mode):
            raise FileNotFoundError(errno.ENOENT, "not a regular file")
        return ObjectInfo(path=path, size=info.st_size, etag=_etag(info))

    def read(self, path: str, etag: str) -> bytes:
        with self._open(path, etag) as (descriptor, info):
            return _pread(descriptor, 0, info.st_size)

    def read_range(self, path: str, start: int, stop: int, etag: str) -> bytes:
        with self._open(path, etag) as (descriptor, info):
            return _pread(descriptor, start, min(stop, info.st_size))

    @contextlib.contextmanager
    def _open(self, path: str, etag: str) -> Iterator[tuple[int, os.stat_result]]:
        # O_NONBLOCK: without it the open of a named pipe waits for a writer that may never come.
        descriptor = os.open(self._path(path), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            info = os.fstat(descriptor)
            if not stat.S_ISREG(info.st_mode):
                raise FileNotFoundError(errno.ENOENT, "not a regular file")
            if etag and etag != _etag(info):
                raise OSError(errno.ESTALE, "the file is no longer the one that was listed")
            yield descriptor, info
        finally:
            os.close(descriptor)

    # --- writing ---------------------------------------------------------------------------------------------

    def create(self, path: str, data: bytes) -> str:
        if os.path.lexists(self._path(path)):
            return ""
        try:
            return self._publish(path, data, _link)
        except FileExistsError:
            return ""

    def put(self, path: str, data: bytes) -> str:
        return self._publish(path, data, os.replace)

    def _publish(self, path: str, data: bytes, place: Callable[[str, str], None]) -> str:
        """Write beside the target, make it durable, then let it appear under its name in one step."""
        target = self._path(path)
        folder = os.path.dirname(target)
        descriptor, temporary = _temporary(folder)
        try:
            with open(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(descriptor)
                etag = _etag(os.fstat(descriptor))
            place(temporary, target)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)
        _sync_folder(folder)
        return etag

    def delete(self, paths: Sequence[str]) -> None:
        for path in paths:
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                os.unlink(self._path(path))
                self._prune(os.path.dirname(self._path(path)))

    def etag_of(self, data: bytes) -> str:
        return ""

    def sweep(self) -> None:
        for folder, _, names in os.walk(self._root):
            for name in names:
                if _TEMPORARY.fullmatch(name):
                    with contextlib.suppress(FileNotFoundError):
                        os.unlink(os.path.join(folder, name))

    def _prune(self, folder: str) -> None:
        """Remove the folder and those above it as long as they are empty, but never the root."""
        while folder != self._root and folder.startswith(self._root):
            try:
                os.rmdir(folder)
            except OSError:
                return
            folder = os.path.dirname(folder)

    def _path(self, path: str) -> str:
        return os.path.join(self._root, path) if path else self._root


def _etag(info: os.stat_result) -> str:
    return f"{info.st_mtime_ns:x}-{info.st_size:x}"


def _key(info: os.stat_result) -> _Key:
    return info.st_dev, info.st_ino


def _pread(descriptor: int, start: int, stop: int) -> bytes:
    """Up to `stop`: one call may return less than it was asked for (at most 2 GiB on Linux)."""
    pieces = []
    while start < stop and (piece := os.pread(descriptor, stop - start, start)):
        pieces.append(piece)
        start += len(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _link(temporary: str, target: str) -> None:
    """Fails where the target exists, on every file system that has hard links; `rename` would overwrite it."""
    try:
        os.link(temporary, target)
    except OSError as error:
        if error.errno in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS):
            raise OSError(errno.ENOTSUP, "this file system has no hard links, hence no conditional create") from error
        raise


def _temporary(folder: str) -> tuple[int, str]:
    """A new file in `folder`, open for writing, and its path."""
    for attempt in range(_TRIES):
        _make(folder)
        path = os.path.join(folder, f".segfill-{secrets.token_hex(8)}.tmp")
        try:
            return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666), path
        except FileNotFoundError:  # a `delete` has just pruned the folder
            if attempt == _TRIES - 1:
                raise
    raise AssertionError("not reached")


def _make(folder: str) -> None:
    """The folder and those above it, durably."""
    if os.path.isdir(folder):
        return
    above = os.path.dirname(folder)
    _make(above)
    with contextlib.suppress(FileExistsError, FileNotFoundError):
        os.mkdir(folder)
        _sync_folder(above)


def _sync_folder(folder: str) -> None:
    """Make new names in it durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network mounts cannot sync a folder
            raise
    finally:
        os.close(descriptor)
