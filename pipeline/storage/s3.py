"""Objects of an S3 bucket below a prefix, through s3fs.

s3fs brings the session, ambient credentials, retries and the translation of errors. We call the S3 operations by name
and never its file-system methods: those cache listings, expand `*` in names when they delete, read `?versionId=` out of
keys and publish half an object when a writer fails.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import threading
import time
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, Final

from botocore.exceptions import (  # type: ignore[import-untyped]
    BotoCoreError,
    NoCredentialsError,
    PartialCredentialsError,
)
from fsspec.asyn import sync
from s3fs import S3FileSystem
from s3fs.core import S3_RETRYABLE_ERRORS

from pipeline.storage import ObjectInfo

MAX_PUT: Final = 5 * 2**30
"""S3's limit of a single put. A single put is atomic, conditional and has an MD5 etag: we never upload in parts."""
_PAGE: Final = 1000  # S3's own limit of keys in one listing page and in one delete
_TRIES: Final = 4


class S3Backend:
    """Objects of `bucket` whose keys begin with `prefix` ("" or ending with a slash)."""

    proves_content = True

    def __init__(self, bucket: str, prefix: str) -> None:
        self._bucket = bucket
        self._prefix = prefix

    # --- reading ---------------------------------------------------------------------------------------------

    def list(self, folder: str, limit: int) -> list[ObjectInfo]:
        """A bucket has no folders: nothing below the prefix is an empty list. Keys that end with a slash are skipped:
        consoles put such empty objects to show a folder."""
        found: list[ObjectInfo] = []
        arguments = {"Prefix": self._prefix + (f"{folder}/" if folder else "")}
        while True:
            page = self._call("list_objects_v2", MaxKeys=min(limit, _PAGE) or _PAGE, **arguments)
            found += (
                ObjectInfo(path=entry["Key"][len(self._prefix) :], size=entry["Size"], etag=_etag(entry))
                for entry in page.get("Contents", ())
                if not entry["Key"].endswith("/")
            )
            if not page.get("IsTruncated") or 0 < limit <= len(found):
                return found[: limit or None]
            arguments["ContinuationToken"] = page["NextContinuationToken"]

    def stat(self, path: str) -> ObjectInfo:
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
        for attempt in range(_TRIES):
            try:
                response = self._call("get_object", Key=self._prefix + path, **arguments)
            except OSError as error:
                if etag and _is_precondition(error):
                    raise OSError(errno.ESTALE, "the object is no longer the one that was listed") from error
                raise
            try:
                with _only_os_errors():
                    return bytes(sync(_filesystem().loop, _drain, response["Body"]))
            except OSError as error:
                # botocore retries a request, but not a body that breaks off.
                if not isinstance(error.__cause__, S3_RETRYABLE_ERRORS) or attempt == _TRIES - 1:
                    raise
                time.sleep(0.2 * 2**attempt)
        raise AssertionError("not reached")

    # --- writing ---------------------------------------------------------------------------------------------

    def create(self, path: str, data: bytes) -> str:
        """May say "" for our own object: when the answer to the first try was lost and the retry met its result."""
        for attempt in range(_TRIES):
            try:
                return self._put(path, data, IfNoneMatch="*")
            except FileExistsError:
                return ""
            except OSError as error:
                if _is_precondition(error):
                    return ""
                # S3: another conditional request for this key was in progress; whose, only a retry tells.
                if _code(error) not in ("ConditionalRequestConflict", "409") or attempt == _TRIES - 1:
                    raise
                time.sleep(0.2 * 2**attempt)
        raise AssertionError("not reached")

    def put(self, path: str, data: bytes) -> str:
        return self._put(path, data)

    def _put(self, path: str, data: bytes, **arguments: str) -> str:
        if len(data) > MAX_PUT:
            raise OSError(
                errno.EFBIG, f"{len(data)} bytes are more than one S3 put takes ({MAX_PUT}); use smaller units"
            )
        return _etag(self._call("put_object", Key=self._prefix + path, Body=data, **arguments))

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
        """A put that was killed leaves nothing."""

    def _call(self, operation: str, **arguments: Any) -> Any:
        with _only_os_errors():
            return _filesystem().call_s3(operation, Bucket=self._bucket, **arguments)


def _filesystem() -> Any:
    """The connection of this process. Another one after a fork, and when the ambient AWS settings change."""
    ambient = frozenset((k, v) for k, v in os.environ.items() if k.startswith("AWS_"))
    with _connecting:
        return _connect(os.getpid(), ambient)


def _after_fork() -> None:
    global _connecting
    _connecting = threading.Lock()  # the parent's may have been held by a thread that does not exist here


_connecting = threading.Lock()
os.register_at_fork(after_in_child=_after_fork)


@lru_cache(maxsize=4)
def _connect(process: int, ambient: frozenset[tuple[str, str]]) -> Any:
    filesystem = S3FileSystem(
        use_listings_cache=False,
        skip_instance_cache=True,
        config_kwargs={
            "connect_timeout": 4,
            "read_timeout": 20,
            "max_pool_connections": 32,
            # Three attempts, or AWS_MAX_ATTEMPTS: an endpoint that cannot be reached is told in seconds.
            "retries": {"mode": "standard"},
        },
    )
    # s3fs repeats what botocore gave up on: throttling, timeouts and broken connections, not refused ones.
    filesystem.retries = 3
    return filesystem


async def _drain(body: Any) -> Any:
    async with body:
        return await body.read()


@contextlib.contextmanager
def _only_os_errors() -> Iterator[None]:
    try:
        yield
    except OSError:
        raise
    except (NoCredentialsError, PartialCredentialsError) as error:
        hint = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile or a role"
        raise PermissionError(errno.EACCES, f"{error}: {hint}") from error
    except BotoCoreError as error:
        raise OSError(errno.EIO, str(error)) from error
    except Exception as error:  # aiohttp's own errors, a malformed AWS_ENDPOINT_URL
        raise OSError(errno.EIO, f"{type(error).__name__}: {error}") from error


def _code(error: OSError) -> str:
    """The error code that S3 sent, or "". s3fs turns several codes into one errno; the cause keeps them apart."""
    answer = getattr(error.__cause__, "response", None) or {}
    return str(answer.get("Error", {}).get("Code", ""))


def _is_precondition(error: OSError) -> bool:
    return _code(error) in ("PreconditionFailed", "412")


def _etag(answer: Any) -> str:
    return str(answer["ETag"]).strip('"')
