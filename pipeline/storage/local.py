"""Backend for files of a local or mounted folder."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import IO, TypeAlias

from pipeline.storage import ObjectInfo

_TEMPORARY = re.compile(r"\.segfill-[0-9a-f]{16}\.tmp")
"""Names of files that are being written."""
_TRIES = 5
_PIECE = 2**20
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC

_EFFECTIVE = os.access in os.supports_effective_ids
_PROBLEMS = {
    errno.ENOENT: "dangling_link",
    errno.ELOOP: "link_loop",
    errno.EACCES: "no_read_right",  # a folder whose names may be listed, but not followed
    errno.ENAMETOOLONG: "unsafe_name",
}
"""Errors of one name in a folder -> the problem of that name."""

_Key: TypeAlias = tuple[int, int]
"""Device and inode: equal for every path that leads to one folder."""


class LocalBackend:
    """Files below `root`, an absolute path. A folder is made for its first file and removed with its last."""

    proves_content = False

    def __init__(self, root: str) -> None:
        self._root = root

    # --- reading ---------------------------------------------------------------------------------------------

    def list(self, folder: str, limit: int, *, outside: bool = True, cuts: Sequence[str] = ()) -> list[ObjectInfo]:
        """List regular files and links to them. Linked folders are entered, too, except for loops."""
        os.stat(self._root)  # a missing root is an error, a missing folder below it is not
        try:
            info = os.stat(self._path(folder))
        except FileNotFoundError:
            return []
        return list(islice(self._walk(folder, (_key(info),), outside), limit or None))

    def _walk(self, folder: str, above: tuple[_Key, ...], outside: bool) -> Iterator[ObjectInfo]:
        """List below `folder`. above: keys of the folders from the root to this one."""
        try:
            with os.scandir(self._path(folder)) as scan:
                entries = sorted(scan, key=lambda entry: entry.name)
        except FileNotFoundError:  # just deleted with its last file
            return
        except PermissionError:
            if len(above) == 1:
                raise
            yield _unreadable(folder, "no_list_right")
            return
        for entry in entries:
            if _TEMPORARY.fullmatch(entry.name):
                continue
            path = f"{folder}/{entry.name}" if folder else entry.name
            try:
                info = os.stat(self._path(path))
            except OSError as error:
                if error.errno not in _PROBLEMS:
                    raise
                if error.errno == errno.EACCES and entry.is_dir(follow_symlinks=False):
                    yield _unreadable(path, "no_list_right")
                elif error.errno != errno.ENOENT or entry.is_symlink():  # otherwise just deleted
                    yield _unreadable(path, _PROBLEMS[error.errno])
                continue
            if not outside and entry.is_symlink() and self._leads_out(path):
                yield _unreadable(path, "link_outside")
            elif stat.S_ISREG(info.st_mode):
                problem = "" if os.access(self._path(path), os.R_OK, effective_ids=_EFFECTIVE) else "no_read_right"
                yield ObjectInfo(path=path, size=info.st_size, etag=_etag(info), problem=problem)
            elif not stat.S_ISDIR(info.st_mode):
                yield _unreadable(path, "not_a_file")
            elif _key(info) in above:
                yield _unreadable(path, "link_loop")
            else:
                yield from self._walk(path, (*above, _key(info)), outside)

    def stat(self, path: str, *, outside: bool = True) -> ObjectInfo:
        info = os.stat(self._path(path))
        if not stat.S_ISREG(info.st_mode):
            raise FileNotFoundError(errno.ENOENT, "not a regular file")
        if not outside and self._leads_out(path):
            return _unreadable(path, "link_outside")
        return ObjectInfo(path=path, size=info.st_size, etag=_etag(info))

    def _leads_out(self, path: str) -> bool:
        """Whether a link in the path leads out of the root."""
        root = os.path.realpath(self._root)
        return os.path.commonpath([root, os.path.realpath(self._path(path))]) != root

    def read(self, path: str, etag: str) -> bytes:
        with self._open(path, etag) as (descriptor, info):
            return _pread(descriptor, 0, info.st_size)

    def read_range(self, path: str, start: int, stop: int, etag: str) -> bytes:
        with self._open(path, etag) as (descriptor, info):
            return _pread(descriptor, start, min(stop, info.st_size))

    @contextlib.contextmanager
    def _open(self, path: str, etag: str) -> Iterator[tuple[int, os.stat_result]]:
        """Open a file to read. Raises ESTALE when it does not have `etag`, or was written to while it was read."""
        # O_NONBLOCK: opening a named pipe would otherwise wait for a writer that may never come.
        descriptor = os.open(self._path(path), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            info = os.fstat(descriptor)
            if not stat.S_ISREG(info.st_mode):
                raise FileNotFoundError(errno.ENOENT, "not a regular file")
            if etag and etag != _etag(info):
                raise OSError(errno.ESTALE, "the file is no longer the one that was listed")
            yield descriptor, info
            if _etag(os.fstat(descriptor)) != _etag(info):
                raise OSError(errno.ESTALE, "the file is no longer the one that was listed, it was written to")
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
        return self._publish(path, data, _replace)

    def put_file(self, path: str, file: IO[bytes]) -> str:
        return self._publish(path, file, _replace)

    def _publish(self, path: str, data: bytes | IO[bytes], place: Callable[[str, str, int], None]) -> str:
        """Write beside the target, make it durable, then give it its name in one step."""
        for _ in range(_TRIES - 1):
            # Another driver may be ending the run: its `sweep` removes our file, its `delete` the folder.
            with contextlib.suppress(FileNotFoundError):
                return self._publish_once(path, data, place)
        return self._publish_once(path, data, place)

    def _publish_once(self, path: str, data: bytes | IO[bytes], place: Callable[[str, str, int], None]) -> str:
        _make_folders(self._root)
        folder = self._folder(path, make=True)
        temporary = f".segfill-{secrets.token_hex(8)}.tmp"
        try:
            descriptor = os.open(temporary, _NEW, 0o666, dir_fd=folder)
            try:
                with open(descriptor, "wb") as file:
                    if isinstance(data, bytes | bytearray | memoryview):
                        file.write(data)
                    else:
                        data.seek(0)
                        shutil.copyfileobj(data, file, _PIECE)
                    file.flush()
                    os.fsync(descriptor)
                    etag = _etag(os.fstat(descriptor))
                place(temporary, os.path.basename(path), folder)
            finally:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(temporary, dir_fd=folder)
            _sync(folder)
        finally:
            os.close(folder)
        return etag

    def link(self, path: str, target: str) -> None:
        _make_folders(self._root)
        folder = self._folder(path, make=True)
        try:
            temporary = f".segfill-{secrets.token_hex(8)}.tmp"
            os.symlink(target, temporary, dir_fd=folder)
            _replace(temporary, os.path.basename(path), folder)
            _sync(folder)
        finally:
            os.close(folder)

    def _folder(self, path: str, *, make: bool) -> int:
        """Open the folder of an object. No link below the root is followed: through a planted one, a run would write or
        delete outside its output."""
        folder = os.open(self._root, _FOLDER)
        for part in path.split("/")[:-1]:
            above = folder
            try:
                folder = _open_folder(part, above, make=make)
            finally:
                os.close(above)
        return folder

    def delete(self, paths: Sequence[str]) -> None:
        for path in paths:
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                folder = self._folder(path, make=False)
                try:
                    os.unlink(os.path.basename(path), dir_fd=folder)
                finally:
                    os.close(folder)
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


def _unreadable(path: str, problem: str) -> ObjectInfo:
    return ObjectInfo(path=path, size=0, etag="", problem=problem)


def _etag(info: os.stat_result) -> str:
    return f"{info.st_mtime_ns:x}-{info.st_size:x}"


def _key(info: os.stat_result) -> _Key:
    return info.st_dev, info.st_ino


def _pread(descriptor: int, start: int, stop: int) -> bytes:
    """Read from `start` to `stop`: one call may return fewer bytes than requested (at most 2 GiB on Linux)."""
    pieces = []
    while start < stop and (piece := os.pread(descriptor, stop - start, start)):
        pieces.append(piece)
        start += len(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _link(temporary: str, target: str, folder: int) -> None:
    """Name a file, which fails where the target exists on every file system with hard links; `rename` would
    overwrite."""
    try:
        os.link(temporary, target, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
    except OSError as error:
        if error.errno in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS):
            raise OSError(errno.ENOTSUP, "this file system has no hard links, hence no conditional create") from error
        raise


def _replace(temporary: str, target: str, folder: int) -> None:
    os.replace(temporary, target, src_dir_fd=folder, dst_dir_fd=folder)


def _open_folder(name: str, above: int, *, make: bool) -> int:
    """Open the folder `name` in the folder `above`. make: create it, durably, where it is missing."""
    try:
        return os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=above)
    except FileNotFoundError:
        if not make:
            raise
    except OSError as error:
        if error.errno in (errno.ENOTDIR, errno.ELOOP) and stat.S_ISLNK(os.lstat(name, dir_fd=above).st_mode):
            raise OSError(errno.ELOOP, f"{name} is a symbolic link, none is followed to write; remove it") from error
        raise
    with contextlib.suppress(FileExistsError):
        os.mkdir(name, dir_fd=above)
        _sync(above)
    return os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=above)


def _make_folders(folder: str) -> None:
    """Create a folder and those above it, durably."""
    if os.path.isdir(folder):
        return
    above = os.path.dirname(folder)
    _make_folders(above)
    with contextlib.suppress(FileExistsError, FileNotFoundError):
        os.mkdir(folder)
        descriptor = os.open(above, _FOLDER)
        try:
            _sync(descriptor)
        finally:
            os.close(descriptor)


def _sync(folder: int) -> None:
    """Make new names in it durable."""
    try:
        os.fsync(folder)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network mounts cannot sync a folder
            raise
