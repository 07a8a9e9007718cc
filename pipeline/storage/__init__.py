"""The protocol of a storage backend; each backend is one file. Only storage/store.py imports from here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO, Protocol, runtime_checkable


@dataclass(frozen=True, kw_only=True, slots=True)
class ObjectInfo:
    """One object of a store, or a name in a folder that cannot be read as one."""

    path: str
    """POSIX, relative to the root of the store."""
    size: int
    """Bytes."""
    etag: str
    """Changes with the bytes."""
    problem: str = ""
    """Empty for an object that can be read. Otherwise `dangling_link`, `link_loop` (a link to itself or to a folder
    above it), `not_a_file` (a named pipe, a socket, a device), `link_outside` (a link that leads out of the root, where
    those are not followed), `no_read_right` (an object that this user may not read), `no_list_right` (a folder below
    the root that this user may not list), or `unsafe_name` (a name that no path of a store can be, or too long)."""


class Backend(Protocol):
    """The objects under one root. The store checks paths before: relative, no `..`, no NUL.

    Every method raises OSError only: FileNotFoundError and PermissionError where they fit, errno ESTALE for an object
    that changed, ENODATA for one that is archived and has to be restored first. Messages need not name the object;
    storage/store.py adds its URI.
    """

    proves_content: bool
    """True: an equal etag proves equal bytes. False: an etag is only a hint."""

    def list(self, folder: str, limit: int, *, outside: bool = True, cuts: Sequence[str] = ()) -> list[ObjectInfo]:
        """List everything below `folder` ("" is the root), unsorted, names with a `problem` included. limit: maximum
        number of objects; 0: all. outside: follow links that lead out of the root. cuts: paths between which about the
        same number of objects lies: a hint to a backend that lists a thousand at a time."""

    def stat(self, path: str, *, outside: bool = True) -> ObjectInfo:
        """Describe one object. outside: as for `list`; `link_outside` is the only `problem` of the answer."""

    def read(self, path: str, etag: str) -> bytes:
        """Read a whole object. An `etag` other than "" must still be the object's."""

    def read_range(self, path: str, start: int, stop: int, etag: str) -> bytes:
        """Read the bytes from start to stop (0 <= start < stop), cut at the end of the object."""

    def create(self, path: str, data: bytes) -> str:
        """Create an object atomically and return its etag, or "" when one exists."""

    def put(self, path: str, data: bytes) -> str:
        """Create or replace an object atomically and return its etag."""

    def put_file(self, path: str, file: IO[bytes]) -> str:
        """As `put`, with the bytes of an open file from its start; at no time are all of them in memory."""

    def delete(self, paths: Sequence[str]) -> None:
        """Delete objects. A missing one counts as deleted."""

    def etag_of(self, data: bytes) -> str:
        """Compute the etag that `put` would return for these bytes; "" where it does not follow from them."""

    def sweep(self) -> None:
        """Remove temporary files of killed writers, which `list` never shows."""


@runtime_checkable
class Links(Protocol):
    """A backend that can hold symbolic links."""

    def link(self, path: str, target: str) -> None:
        """Make or replace a link, atomically."""
