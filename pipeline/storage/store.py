"""The one access to storage: list, ranged read, conditional create, atomic put.

A store is everything below one URI. Credentials, regions and endpoints come from the ambient environment only.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import re
import secrets
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import IO, Final

from pipeline.errors import ConfigError
from pipeline.storage import Backend, Links, ObjectInfo

__all__ = ["ObjectInfo", "Reader", "Store", "open_store"]

READ_AHEAD_FIRST: Final = 512 * 2**10
READ_AHEAD_MAX: Final = 8 * 2**20
READS_AT_ONCE: Final = 16

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)(::|:/)")
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_SIGNED = re.compile(r"[?&](X-Amz-|X-Goog-|AWSAccessKeyId|Signature|sig|token|key|secret)[^=&]*=", re.IGNORECASE)
_CHAINED: Final = "chained URLs (a::b) are not supported; name one folder or bucket"


def open_store(uri: str) -> Store:
    """Open `s3://bucket/prefix`, `gs://...`, `az://...`, `file:///folder` or a plain path, without a connection yet.

    `~` at the start of a path is the home folder, unless such a path exists.

    Raises ConfigError for any other scheme, for chained URLs and for a URI that carries credentials.
    """
    if not isinstance(uri, str) or not uri or uri != uri.strip() or "\0" in uri:
        raise ConfigError("expected a storage URI such as s3://bucket/folder or a path, without spaces around it")
    scheme, rest = _split(uri)
    if scheme == "file":
        return Store(os.path.abspath(rest if os.path.lexists(rest) else os.path.expanduser(rest)))
    # Until they are refused, the URI may hold credentials, and messages end in logs: none of these repeats it.
    bucket, _, prefix = rest.partition("/")
    if scheme in ("http", "https"):
        raise ConfigError(f"{scheme}:// is not read, and no key allows it; copy the data to a folder or a bucket first")
    if scheme not in ("s3", "gs", "az"):
        raise ConfigError(f"unknown scheme {scheme!r}; expected s3, gs, az, file or a plain path")
    if "::" in uri:
        raise ConfigError(_CHAINED)
    if "@" in bucket or ":" in bucket or _SIGNED.search(uri):
        raise ConfigError(f"the {scheme}:// URI carries credentials; remove them and set them in the environment")
    if not _BUCKET.fullmatch(bucket):
        raise ConfigError(f"{uri}: expected {scheme}://bucket/prefix, got bucket {bucket!r}")
    prefix = prefix.strip("/")
    if prefix and _path_problem(prefix):
        raise ConfigError(f"{uri}: {_path_problem(prefix)}")
    return Store(f"{scheme}://{bucket}/{prefix}".rstrip("/"))


def pay_requests(uri: str) -> None:
    """Let this process pay for its requests to the S3 bucket of a URI (requester pays); other URIs cost nothing."""
    scheme, rest = _split(uri)
    if scheme == "s3":
        from pipeline.storage import s3

        s3.PAYING.add(rest.partition("/")[0])


def _split(uri: str) -> tuple[str, str]:
    """Split a URI into scheme and the part after `://`; ("file", path) for local ones. No percent-decoding."""
    match = _SCHEME.match(uri)
    if match is None:
        return "file", uri
    scheme, rest = match[1].lower(), uri[len(match[1]) + 1 :]
    if match[2] == "::":
        raise ConfigError(_CHAINED)
    if scheme != "file":
        return scheme, rest.removeprefix("//")
    if rest.startswith("//") and not rest.startswith("///"):
        raise ConfigError("a file URI names no host; expected file:///folder")
    return "file", rest.removeprefix("//")


def _path_problem(path: str) -> str:
    """Say what is wrong with a relative path, or ""."""
    if not path or path.startswith("/") or "\0" in path:
        return f"expected a path relative to the store, got {path!r}"
    if any(part in (".", "..") for part in path.split("/")):
        return f"the path {path!r} must not hold '.' or '..'"
    return ""


def _with_problem(info: ObjectInfo) -> ObjectInfo:
    """Give an object of a name that no path can be (S3 takes any) a problem."""
    is_odd = _path_problem(info.path) or "" in info.path.split("/")
    return replace(info, problem="unsafe_name") if is_odd and not info.problem else info


class Store:
    """Everything below `uri`. Made by `open_store`; pickles as its URI and connects on first use in each process.

    Paths are POSIX and relative to the root; one that leaves it (`..`, absolute, NUL) raises ValueError. Errors of the
    storage are FileNotFoundError, PermissionError or OSError, each one line that names the URI. Safe to share between
    threads.
    """

    def __init__(self, uri: str) -> None:
        self.uri: Final = uri
        self._opened: tuple[int, Backend] | None = None

    def __reduce__(self) -> tuple[type[Store], tuple[str]]:
        return Store, (self.uri,)

    def __repr__(self) -> str:
        return f"Store({self.uri!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Store) and other.uri == self.uri

    def __hash__(self) -> int:
        return hash(self.uri)

    @property
    def is_local(self) -> bool:
        """True for a folder, which the first write makes. False for a bucket, which has to exist."""
        return self.uri.startswith("/")

    @property
    def proves_content(self) -> bool:
        """True: an equal etag proves equal bytes (object stores). False: it is only a hint (files)."""
        return self._backend.proves_content

    def join(self, path: str) -> str:
        """Return the full URI of an object."""
        return f"{self.uri.rstrip('/')}/{_checked(path)}"

    # --- reading ---------------------------------------------------------------------------------------------

    def list(
        self, prefix: str = "", limit: int = 0, *, odd: bool = False, outside: bool = True, cuts: Sequence[str] = ()
    ) -> list[ObjectInfo]:
        """List the objects below the folder `prefix`, sorted by path.

        limit: maximum number of objects; 0: all. odd: include names that cannot be read, see `ObjectInfo.problem`.
        outside: follow links that lead out of the root. cuts: paths, none of them a folder's, that part the objects
        about evenly, so that a large listing takes several requests at a time. A missing folder below the root is
        empty. Raises FileNotFoundError for a missing root or bucket.
        """
        folder = prefix.rstrip("/")
        if folder or prefix:
            _checked(folder)
        with self._naming(folder):
            found = map(_with_problem, self._backend.list(folder, limit, outside=outside, cuts=cuts))
        objects = ("", "no_read_right")
        return sorted((info for info in found if odd or info.problem in objects), key=lambda info: info.path)

    def stat(self, path: str, *, outside: bool = True) -> ObjectInfo:
        """Describe one object. outside: False gives a link that leads out of the root its `problem`, as in a list."""
        with self._naming(_checked(path)):
            return self._backend.stat(path, outside=outside)

    def read(self, path: str, *, etag: str = "") -> bytes:
        """Read a whole object. With an `etag`, raises OSError (ESTALE) when the object now has another one."""
        with self._naming(_checked(path)):
            return self._backend.read(path, etag)

    def read_range(self, path: str, start: int, stop: int, *, etag: str = "") -> bytes:
        """Read the bytes from start to stop, cut at the end of the object. `etag` as in `read`."""
        if start < 0 or stop < start:
            raise ValueError(f"expected 0 <= start <= stop, got {start} and {stop}")
        with self._naming(_checked(path)):
            return self._backend.read_range(path, start, stop, etag) if stop > start else b""

    def read_many(self, paths: Iterable[str]) -> dict[str, bytes]:
        """Read whole objects concurrently, in the order of `paths`."""
        wanted = list(paths)
        with ThreadPoolExecutor(READS_AT_ONCE, thread_name_prefix="store") as pool:
            return dict(zip(wanted, pool.map(self.read, wanted), strict=True))

    def open(self, path: str, start: int = 0, *, etag: str = "") -> Reader:
        """Open an object as a seekable binary file over ranged reads, at position `start`. `etag` as in `read`; its
        default is the object's own: an object that is replaced while it is read raises OSError, never mixes."""
        with self._naming(_checked(path)):
            info = self._backend.stat(path)
            if etag and etag != info.etag:
                raise OSError(errno.ESTALE, "the object is no longer the one that was listed")
        return Reader(self, info, start)

    # --- writing ---------------------------------------------------------------------------------------------

    def create(self, path: str, data: bytes) -> bool:
        """Create an object in one atomic step. False, and nothing written, when it exists.

        After a lost answer it may be False for the caller's own bytes: a caller that must know reads them back.
        """
        return self.create_with_etag(path, data) != ""

    def create_with_etag(self, path: str, data: bytes) -> str:
        """As `create`, but return the etag of the new object, or "" when it exists."""
        with self._naming(_checked(path)):
            return self._backend.create(path, data)

    def put(self, path: str, data: bytes) -> str:
        """Create or replace an object in one atomic step, and return its etag."""
        with self._naming(_checked(path)):
            return self._backend.put(path, data)

    def put_file(self, path: str, file: IO[bytes]) -> str:
        """As `put`, with the bytes of an open file from its start: for an object that does not fit in memory."""
        with self._naming(_checked(path)):
            return self._backend.put_file(path, file)

    def link(self, path: str, target: str) -> None:
        """Make or replace a symbolic link, in a folder only, to an absolute path."""
        with self._naming(_checked(path)):
            if not isinstance(self._backend, Links):
                raise OSError(errno.ENOTSUP, "a bucket holds no links")
            self._backend.link(path, target)

    def delete(self, paths: Sequence[str]) -> None:
        """Delete objects, and the folders that become empty. Missing objects are ignored."""
        for path in paths:
            _checked(path)
        with self._naming(""):
            self._backend.delete(paths)

    def etag_of(self, data: bytes) -> str:
        """Compute the etag that `put` would return for these bytes, where it follows from them (S3); else ""."""
        return self._backend.etag_of(data)

    def probe_conditional_create(self, folder: str = "_run") -> bool:
        """Whether `create` is conditional: tried on an object `folder`/probe-*, which is then removed."""
        path = f"{folder}/probe-{secrets.token_hex(8)}"
        try:
            self.create(path, b"first")  # the result may be wrong after a lost answer: see `create`
            return not self.create(path, b"second") and self.read(path) == b"first"
        except OSError as error:
            if error.errno in (errno.ENOTSUP, errno.ENOSYS):
                return False
            raise
        finally:
            self.delete([path])

    def sweep(self) -> None:
        """Remove the temporary files of killed writers (local folders). For use when all writers have ended."""
        with self._naming(""):
            self._backend.sweep()

    # --- inside ----------------------------------------------------------------------------------------------

    @property
    def _backend(self) -> Backend:
        opened = self._opened
        if opened is None or opened[0] != os.getpid():  # a connection does not survive a fork
            self._opened = opened = os.getpid(), _connect(self.uri)
        return opened[1]

    @contextlib.contextmanager
    def _naming(self, path: str) -> Iterator[None]:
        """Turn any OSError into one whose one line names the object."""
        try:
            yield
        except OSError as error:
            where = f"{self.uri.rstrip('/')}/{path}" if path else self.uri
            raise _with_uri(error, where) from error


def _checked(path: str) -> str:
    if problem := _path_problem(path):
        raise ValueError(problem)
    return path


def _connect(uri: str) -> Backend:
    # Imported here: botocore and s3fs take half a second, which local runs are spared.
    scheme, rest = _split(uri)
    if scheme == "file":
        from pipeline.storage.local import LocalBackend

        return LocalBackend(rest)
    if scheme == "s3":
        from pipeline.storage.s3 import S3Backend

        bucket, _, prefix = rest.partition("/")
        return S3Backend(bucket, f"{prefix}/" if prefix else "")
    import fsspec

    from pipeline.storage.fsspec_backend import CloudBackend

    try:
        filesystem = fsspec.filesystem(scheme, use_listings_cache=False)
    except ImportError as error:
        package = {"gs": "gcsfs", "az": "adlfs"}[scheme]
        raise ConfigError(f"{uri}: needs the package {package}; run `pip install {package}`") from error
    return CloudBackend(filesystem, rest)


def _with_uri(error: OSError, uri: str) -> OSError:
    detail = " ".join((error.strerror or str(error) or type(error).__name__).split())
    named: OSError
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        named = FileNotFoundError(f"{uri}: not found ({detail}); check the path")
    elif isinstance(error, PermissionError):
        check = "your rights" if uri.startswith("/") else "the credentials in the environment and your rights"
        said = detail if detail.startswith("no credentials") else f"no access ({detail}); check {check}"
        named = PermissionError(f"{uri}: {said}")
    elif error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        named = OSError(f"{uri}: {detail}; make room there, or lift the limit")
    else:
        named = OSError(f"{uri}: {detail}")
    named.errno = error.errno
    return named


class Reader(io.RawIOBase):
    """A binary file over ranged reads of one object.

    Reads ahead, and further ahead with each read in sequence, so that a tar takes few requests and a seek in a Parquet
    file costs little. Holds at most 8 MiB besides the bytes that a `read` returns.
    """

    def __init__(self, store: Store, info: ObjectInfo, start: int) -> None:
        super().__init__()
        self._store = store
        self._info = info
        self._position = start
        self._window = b""
        self._window_start = start
        self._ahead = READ_AHEAD_FIRST

    @property
    def size(self) -> int:
        """Bytes of the whole object."""
        return self._info.size

    def read(self, size: int | None = -1, /) -> bytes:
        """Read `size` bytes, fewer only at the end of the object; -1: all that is left."""
        left = max(0, self._info.size - self._position)
        wanted = left if size is None or size < 0 else min(size, left)
        offset = self._position - self._window_start
        data = self._window[offset : offset + wanted] if offset >= 0 else b""
        if len(data) < wanted:
            data += self._fetch(self._position + len(data), wanted - len(data))
        self._position += wanted
        return data

    def _fetch(self, start: int, wanted: int) -> bytes:
        """Fetch `wanted` bytes from `start`, and a window of more behind them."""
        in_sequence = start == self._window_start + len(self._window)
        self._ahead = min(2 * self._ahead, READ_AHEAD_MAX) if in_sequence else READ_AHEAD_FIRST
        stop = min(start + max(wanted, self._ahead), self._info.size)
        data = self._store.read_range(self._info.path, start, stop, etag=self._info.etag)
        if len(data) != stop - start:
            raise OSError(f"{self._store.join(self._info.path)}: got {len(data)} of {stop - start} bytes; try again")
        self._window, self._window_start = data, start
        return data[:wanted]

    def readinto(self, buffer: memoryview | bytearray, /) -> int:  # type: ignore[override]  # Buffer has no len on 3.11
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._info.size}[whence]
        if base + offset < 0:
            raise ValueError(f"cannot seek to {base + offset}")
        self._position = base + offset
        return self._position

    def tell(self) -> int:
        return self._position

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True
