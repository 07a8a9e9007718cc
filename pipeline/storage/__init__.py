"""What a kind of storage has to offer; the kinds themselves, one a file. Only storage/store.py imports from here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, kw_only=True, slots=True)
class ObjectInfo:
    """One object. path: POSIX, relative to the root of its store. size in bytes. etag: changes with the bytes.

    problem: empty; or why a name in a folder is nothing that can be read: `dangling_link`, `link_loop` (a link to
    itself, or to a folder above it), `not_a_file` (a named pipe, a socket, a device), `link_outside` (a link to what is
    not below the root, where those are not wanted).
    """

    path: str
    size: int
    etag: str
    problem: str = ""


class Backend(Protocol):
    """The objects under one root. Paths come in checked: relative, no `..`, no NUL.

    Every method raises OSError and nothing else: FileNotFoundError and PermissionError where they fit, errno ESTALE for
    an object that changed. Messages need not name the object; pipeline/storage/store.py does.
    """

    proves_content: bool
    """True: as long as the etag of an object stays, so do its bytes. False: an etag only hints at a change."""

    def list(self, folder: str, limit: int, *, outside: bool = True) -> list[ObjectInfo]:
        """Everything below `folder` ("" is the root), unsorted, at most `limit` objects unless that is 0; what has a
        `problem` too. outside: follow links that lead out of the root."""

    def stat(self, path: str, *, outside: bool = True) -> ObjectInfo:
        """outside: as for `list`; it is the only `problem` that can come."""

    def read(self, path: str, etag: str) -> bytes:
        """The whole object. An `etag` other than "" must still be the object's."""

    def read_range(self, path: str, start: int, stop: int, etag: str) -> bytes:
        """Bytes start to stop (0 <= start < stop), cut at the end of the object."""

    def create(self, path: str, data: bytes) -> str:
        """Atomic conditional create: the etag of the new object, or "" when there is one already."""

    def put(self, path: str, data: bytes) -> str:
        """Atomic create or replace: the etag."""

    def delete(self, paths: Sequence[str]) -> None:
        """What is not there counts as deleted."""

    def etag_of(self, data: bytes) -> str:
        """The etag that `put` would give these bytes, where it follows from them; else ""."""

    def sweep(self) -> None:
        """Remove what killed writers left behind and `list` never shows."""
