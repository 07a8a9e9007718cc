"""A bucket in memory that takes any key and refuses the reads that a test names: what no server on loopback does."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import pytest
from botocore.exceptions import ClientError
from s3fs.errors import translate_boto_error

from pipeline.storage import s3, store
from pipeline.storage.s3 import S3Backend


class Bucket:
    """objects: key -> bytes. refused: key -> S3's error code for a read of it; `*` for every key and for a listing."""

    def __init__(self, objects: Mapping[str, bytes]) -> None:
        self.objects = dict(objects)
        self.refused: dict[str, str] = {}
        self.requests: list[dict[str, Any]] = []

    def answer(self, operation: str, arguments: dict[str, Any]) -> dict[str, Any]:
        self.requests.append({"operation": operation, **arguments})
        if operation == "list_objects_v2":
            self._check("*", operation)
            keys = [key for key in sorted(self.objects) if key.startswith(arguments["Prefix"])]
            return {"Contents": [{"Key": key, **self._head(key)} for key in keys]}
        key = arguments["Key"]
        self._check(key, operation)
        if key not in self.objects:
            raise _error("NoSuchKey", operation)
        data = self.objects[key]
        if bounds := arguments.get("Range", ""):
            start, _, stop = bounds.removeprefix("bytes=").partition("-")
            data = data[int(start) : int(stop) + 1]
        return {"ContentLength": len(self.objects[key]), "ETag": self._head(key)["ETag"], "Body": data}

    def _head(self, key: str) -> dict[str, Any]:
        data = self.objects[key]
        return {"Size": len(data), "ETag": f'"{hashlib.md5(data, usedforsecurity=False).hexdigest()}"'}

    def _check(self, key: str, operation: str) -> None:
        code = self.refused.get(key) or self.refused.get("*")
        if code and operation != "head_object":  # which needs less than the bytes do
            raise _error(code, operation)


def serve(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every s3:// URI of this process leads to this bucket."""

    class Backend(S3Backend):
        def _once(self, operation: str, **arguments: Any) -> Any:
            return bucket.answer(operation, arguments)

        def _body(self, answer: Any) -> bytes:
            return bytes(answer["Body"])

    connect = store._connect

    def connected(uri: str) -> Any:
        if not uri.startswith("s3://"):
            return connect(uri)
        name, _, prefix = uri.removeprefix("s3://").partition("/")
        return Backend(name, f"{prefix}/" if prefix else "")

    monkeypatch.setattr(store, "_connect", connected)
    monkeypatch.setattr(s3, "SHORT_RETRY_SECONDS", 0.0)
    monkeypatch.setattr(s3, "RETRY_SECONDS", 0.0)


def _error(code: str, operation: str) -> OSError:
    answer = {"Error": {"Code": code, "Message": f"{code}."}, "ResponseMetadata": {"HTTPStatusCode": 403}}
    error: OSError = translate_boto_error(ClientError(answer, operation))
    return error
