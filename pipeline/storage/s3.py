"""Backend for objects of an S3 bucket below a prefix, through s3fs.

s3fs brings the session, ambient credentials and the translation of errors. The S3 operations are called by name, never
its file-system methods: those cache listings, expand `*` in names when they delete, read `?versionId=` out of keys and
publish half an object when a writer fails. Retries are decided here alone: botocore and s3fs each retry a request in
their own way, and neither retries a body that breaks off.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import islice
from typing import IO, Any, Final, TypeVar

from aiohttp import ClientError as AiohttpError
from botocore.exceptions import (
    BotoCoreError,
    FlexibleChecksumError,
    NoCredentialsError,
    PartialCredentialsError,
)
from botocore.exceptions import (
    ConnectionError as BotocoreConnectionError,
)
from fsspec.asyn import sync
from s3fs import S3FileSystem
from s3fs.core import S3_RETRYABLE_ERRORS

from pipeline.storage import ObjectInfo

MAX_PUT: Final = 5 * 2**30
"""S3's limit of a single put, in bytes. Uploads are never in parts: a single put is atomic, conditional and has an MD5
etag."""
_PAGE: Final = 1000  # S3's own limit of keys in one listing page and in one delete
_LISTS_AT_ONCE: Final = 16

RETRY_SECONDS: Final = 20.0
"""Seconds for which a request with a transient error is retried. With the clean-up after a request that failed for
good, a run whose storage is lost ends within a minute."""
SHORT_RETRY_SECONDS: Final = 4.0
"""The same before this process has its first answer, and after a request failed for good: a wrong address is reported
within seconds, and the clean-up after a failure does not wait for the storage again."""
READ_TIMEOUT: Final = 12.0
"""Seconds without a byte of an answer after which one attempt fails."""
_FIRST_DELAY, _MAX_DELAY = 0.1, 3.0

_TRANSIENT_CODES: Final = frozenset(
    [
        *("SlowDown", "Throttling", "ThrottlingException", "RequestLimitExceeded", "RequestTimeout", "429"),
        *("BadDigest", "IncompleteBody", "XAmzContentSHA256Mismatch"),  # damaged in transfer
        *("ConditionalRequestConflict", "OperationAborted", "409"),  # a concurrent write: a retry shows which one won
    ]
)
"""Error codes that are transient, besides every status of 500 and above."""

_TRANSIENT_ERRORS: Final = (
    *S3_RETRYABLE_ERRORS,
    *(AiohttpError, BotocoreConnectionError, ConnectionError, TimeoutError),  # of aiohttp, botocore and Python
    FlexibleChecksumError,  # the body does not match its checksum
)

PAYING: Final[set[str]] = set()
"""Buckets whose requests this process pays for."""

Answer = TypeVar("Answer")


class S3Backend:
    """Objects of `bucket` whose keys begin with `prefix` ("" or ending with a slash)."""

    proves_content = True

    def __init__(self, bucket: str, prefix: str) -> None:
        self._bucket = bucket
        self._prefix = prefix

    # --- reading ---------------------------------------------------------------------------------------------

    def list(self, folder: str, limit: int, *, outside: bool = True, cuts: Sequence[str] = ()) -> list[ObjectInfo]:
        """List objects, in ranges between the cuts at the same time. A prefix without objects is an empty list: a
        bucket has no folders. Empty objects whose keys end with a slash are skipped: consoles put them to show a
        folder."""
        prefix = self._prefix + (f"{folder}/" if folder else "")
        if limit:
            return list(islice(self._pages(prefix, at_once=min(limit, _PAGE)), limit))
        ends = [self._prefix + cut for cut in sorted(cuts)]
        with ThreadPoolExecutor(_LISTS_AT_ONCE, thread_name_prefix="list") as pool:
            parts = pool.map(lambda start, stop: self._range(prefix, start, stop), ["", *ends], [*ends, ""])
            return [info for part in parts for info in part]

    def _range(self, prefix: str, start: str, stop: str) -> Sequence[ObjectInfo]:
        """List the objects of a prefix with start < key <= stop; "" is its beginning, or its end."""
        found = []
        for info in self._pages(prefix, start):
            if stop and self._prefix + info.path > stop:
                break
            found.append(info)
        return found

    def _pages(self, prefix: str, start: str = "", at_once: int = _PAGE) -> Iterator[ObjectInfo]:
        arguments = {"StartAfter": start} if start else {}
        while True:
            page = self._call("list_objects_v2", MaxKeys=at_once, Prefix=prefix, **arguments)
            yield from self._objects(page)
            if not page.get("IsTruncated"):
                return
            arguments["ContinuationToken"] = page["NextContinuationToken"]

    def _objects(self, page: Mapping[str, Any]) -> Iterator[ObjectInfo]:
        for entry in page.get("Contents", ()):
            if entry["Size"] or not entry["Key"].endswith("/"):
                yield ObjectInfo(path=entry["Key"][len(self._prefix) :], size=entry["Size"], etag=_etag(entry))

    def stat(self, path: str, *, outside: bool = True) -> ObjectInfo:
        head = self._call("head_object", Key=self._prefix + path)
        return ObjectInfo(path=path, size=head["ContentLength"], etag=_etag(head))

    def read(self, path: str, etag: str) -> bytes:
        return self._get(path, etag)

    def read_range(self, path: str, start: int, stop: int, etag: str) -> bytes:
        try:
            return self._get(path, etag, Range=f"bytes={start}-{stop - 1}")
        except OSError as error:
            if _code(error) in ("InvalidRange", "416"):  # S3's answer to a start at or behind the end
                return b""
            raise

    def _get(self, path: str, etag: str, **arguments: str) -> bytes:
        if etag:
            arguments["IfMatch"] = f'"{etag}"'
        try:
            return _with_retries(lambda: self._body(self._once("get_object", Key=self._prefix + path, **arguments)))
        except OSError as error:
            if etag and _is_precondition(error):
                raise OSError(errno.ESTALE, "the object is no longer the one that was listed") from error
            if _code(error) == "InvalidObjectState":
                raise OSError(errno.ENODATA, "the object is archived; restore it first") from error
            if _code(error) == "InvalidRequest" or _code(error).startswith("KMS."):  # encrypted with another's key
                raise PermissionError(errno.EACCES, error.strerror or str(error)) from error
            raise

    def _body(self, answer: Any) -> bytes:
        with _only_os_errors():
            data = bytes(sync(_filesystem().loop, _read_body, answer["Body"]))
        if len(data) != _expected_length(answer):
            raise TimeoutError(errno.ETIMEDOUT, f"got {len(data)} of {_expected_length(answer)} bytes")
        return data

    # --- writing ---------------------------------------------------------------------------------------------

    def create(self, path: str, data: bytes) -> str:
        """Create an object. May return "" for the caller's own object: when the answer to the first attempt was lost,
        the next one finds its object. This cannot be detected here: aiohttp, too, silently sends a request again when a
        kept connection breaks."""
        try:
            return _with_retries(lambda: self._put(path, data, IfNoneMatch="*"))
        except FileExistsError:
            return ""
        except OSError as error:
            if _is_precondition(error):
                return ""
            raise

    def put(self, path: str, data: bytes) -> str:
        return _with_retries(lambda: self._put(path, data))

    def put_file(self, path: str, file: IO[bytes]) -> str:
        return _with_retries(lambda: self._put(path, file))

    def _put(self, path: str, data: bytes | IO[bytes], **arguments: str) -> str:
        size = len(data) if isinstance(data, bytes | bytearray | memoryview) else data.seek(0, os.SEEK_END)
        if size > MAX_PUT:
            raise OSError(
                errno.EMSGSIZE,
                f"{size} bytes are more than one S3 put takes ({MAX_PUT}); use smaller units, or splits of an export",
            )
        if not isinstance(data, bytes | bytearray | memoryview):
            data.seek(0)
        return _etag(self._once("put_object", Key=self._prefix + path, Body=data, **arguments))

    def delete(self, paths: Sequence[str]) -> None:
        for first in range(0, len(paths), _PAGE):
            keys = [{"Key": self._prefix + path} for path in paths[first : first + _PAGE]]
            answer = self._call("delete_objects", Delete={"Objects": keys, "Quiet": True})
            failed = [e for e in answer.get("Errors", ()) if e.get("Code") != "NoSuchKey"]
            if failed:
                kind = PermissionError if failed[0].get("Code") == "AccessDenied" else OSError
                raise kind(errno.EIO, f"{failed[0].get('Key')}: {failed[0].get('Code')} {failed[0].get('Message', '')}")

    def etag_of(self, data: bytes) -> str:
        return hashlib.md5(data, usedforsecurity=False).hexdigest()

    def sweep(self) -> None:
        """Do nothing: a killed put leaves no object."""

    def _call(self, operation: str, **arguments: Any) -> Any:
        return _with_retries(lambda: self._once(operation, **arguments))

    def _once(self, operation: str, **arguments: Any) -> Any:
        if self._bucket in PAYING:
            arguments["RequestPayer"] = "requester"
        with _only_os_errors():
            return _filesystem().call_s3(operation, Bucket=self._bucket, **arguments)


def _with_retries(request: Callable[[], Answer]) -> Answer:
    """Send a request, and retry it for a while after transient errors."""
    global _answering
    deadline = time.monotonic() + (RETRY_SECONDS if _answering else SHORT_RETRY_SECONDS)
    delay = _FIRST_DELAY
    while True:
        try:
            answer = request()
        except OSError as error:
            if not _is_transient(error):
                _answering = True
                raise
            if time.monotonic() + delay > deadline:
                _answering = False
                raise
        else:
            _answering = True
            return answer
        time.sleep(delay * random.uniform(0.5, 1.0))  # so that workers do not retry at the same moment
        delay = min(2 * delay, _MAX_DELAY)


_answering = False
"""Whether the last request of this process got an answer. Threads may race for it: it only sets how long one
retries."""


def _is_transient(error: OSError) -> bool:
    answer = getattr(error.__cause__, "response", None) or {}
    status = answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return (
        status >= 500
        or _code(error) in _TRANSIENT_CODES
        or any(isinstance(e, _TRANSIENT_ERRORS) for e in (error, error.__cause__))
    )


def _expected_length(answer: Any) -> int:
    """Length of the body by its headers: of the range, which no proxy rewrites, or of the whole object."""
    first, _, rest = str(answer.get("ContentRange", "")).removeprefix("bytes ").partition("-")
    return int(rest.partition("/")[0]) - int(first) + 1 if rest else int(answer["ContentLength"])


def _filesystem() -> Any:
    """Return the connection of this process. A fork, or a change of the ambient AWS settings, opens a new one."""
    ambient = frozenset((k, v) for k, v in os.environ.items() if k.startswith("AWS_"))
    with _connecting:
        return _connect(os.getpid(), ambient)


def _after_fork() -> None:
    global _connecting
    _connecting = threading.Lock()  # the parent's may be held by a thread that does not exist here


_connecting = threading.Lock()
os.register_at_fork(after_in_child=_after_fork)


@lru_cache(maxsize=4)
def _connect(process: int, ambient: frozenset[tuple[str, str]]) -> Any:
    filesystem = S3FileSystem(
        use_listings_cache=False,
        skip_instance_cache=True,
        config_kwargs={
            "connect_timeout": 4,
            "read_timeout": READ_TIMEOUT,
            "max_pool_connections": 32,
            "retries": {"mode": "standard", "total_max_attempts": 1},
        },
    )
    filesystem.retries = 1
    return filesystem


async def _read_body(body: Any) -> Any:
    async with body:
        return await body.read()


@contextlib.contextmanager
def _only_os_errors() -> Iterator[None]:
    try:
        yield
    except OSError:
        raise
    except (NoCredentialsError, PartialCredentialsError) as error:
        what = "no credentials found; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile or a role"
        raise PermissionError(errno.EACCES, what) from error
    except BotoCoreError as error:
        raise OSError(errno.EIO, str(error)) from error
    except Exception as error:  # aiohttp's own errors, a malformed AWS_ENDPOINT_URL
        raise OSError(errno.EIO, f"{type(error).__name__}: {error}") from error


def _code(error: OSError) -> str:
    """The error code that S3 sent, or "". s3fs maps several codes to one errno; the cause has the code."""
    answer = getattr(error.__cause__, "response", None) or {}
    return str(answer.get("Error", {}).get("Code", ""))


def _is_precondition(error: OSError) -> bool:
    return _code(error) in ("PreconditionFailed", "412")


def _etag(answer: Any) -> str:
    return str(answer["ETag"]).strip('"')
