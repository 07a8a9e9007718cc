"""Weights from a bucket: the right bytes or none."""

import hashlib
from pathlib import Path

import pytest

from pipeline.errors import WeightsError
from pipeline.models.weights import Weights
from pipeline.storage.store import open_store
from tests.fakes.s3_server import S3


def test_weights_come_from_a_bucket_and_are_verified(s3: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEGFILL_CACHE", str(tmp_path))
    folder = s3.uri("weights")
    data = b"numbers" * 1000
    open_store(folder).put("models/net.safetensors", data)
    named = Weights(uri=f"{folder}/models/net.safetensors", sha256=hashlib.sha256(data).hexdigest(), licence="MIT")
    assert named.fetch().read_bytes() == data
    with pytest.raises(WeightsError, match="expected sha256"):
        Weights(uri=named.uri, sha256="0" * 64, licence="MIT").fetch()
    with pytest.raises(WeightsError, match=r"absent.safetensors"):
        Weights(uri=f"{folder}/absent.safetensors", sha256="0" * 64, licence="MIT").fetch()
