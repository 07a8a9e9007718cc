"""A source and a sink may be folders and object stores, but no other file system that fsspec knows."""

import socket
from pathlib import Path

import pytest

from jobs.entry import main
from pipeline.errors import ConfigError
from pipeline.storage.store import open_store

PROMISE = "a URI of another scheme, or a chained one, is refused before anything is opened"

OTHERS = [
    "http://host/x", "https://host/x", "http://127.0.0.1/x", "http://169.254.169.254/latest/meta-data", "HTTP://host/x",
    "ftp://host/x", "sftp://host/x", "ssh://host/x", "smb://host/x", "hdfs://host/x", "webhdfs://host/x", "dbfs:/x",
    "git://x", "github://owner:repo@main/x", "gitlab://x", "gist://x", "hf://datasets/owner/name", "gdrive://x", "box://x",
    "dropbox://x", "oss://bucket/x", "gcs://bucket/x", "abfs://container/x", "adl://x", "s3a://bucket/x", "r2://bucket/x",
    "memory://x", "zip://x.zip", "tar://x.tar", "libarchive://x.7z", "jar://x", "root://host//x", "dask://x",
    "reference://x", "lakefs://x", "jlab://x", "asynclocal://x", "generic://x", "dir://x", "local:/x", "oci://x",
]  # fmt: skip
CHAINED = [
    "simplecache::s3://bucket/x", "filecache::https://host/x", "blockcache::s3://bucket/x", "cached::s3://bucket/x",
    "zip://a.jpg::s3://bucket/x.zip", "zip::file:///x.zip", "tar://x::http://host/x.tar", "dir::s3://bucket/x",
    "dir://sub::s3://bucket/x", "reference::s3://bucket/x", "file::s3://bucket/x", "s3://bucket/x::s3://other/y",
    "s3::s3://bucket/x", "gs://bucket/a::b", "SimpleCache::s3://bucket/x",
]  # fmt: skip


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make any connection fail the test."""

    def connect(*arguments: object) -> None:
        raise AssertionError(f"connected to {arguments}")

    monkeypatch.setattr(socket.socket, "connect", connect)
    monkeypatch.setattr(socket, "getaddrinfo", connect)


@pytest.mark.usefixtures("no_network")
@pytest.mark.promise(PROMISE)
@pytest.mark.parametrize("uri", OTHERS + CHAINED)
def test_it_is_refused_in_one_line(uri: str) -> None:
    with pytest.raises(ConfigError) as caught:
        open_store(uri)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
@pytest.mark.usefixtures("no_network")
@pytest.mark.promise(PROMISE)
@pytest.mark.parametrize("key", ["source.uri", "sink.uri"])
@pytest.mark.parametrize(
    "uri", ["http://127.0.0.1/x.tar", "https://host/*.parquet", "simplecache::s3://bucket/{0..3}.tar"]
)
def test_a_job_refuses_it_before_anything_is_opened(
    key: str,
    uri: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jpg").write_bytes(b"no picture")
    places = {"source.uri": "in", "sink.uri": "out", key: f"'{uri}'"}
    assert main("anonymize", [*(f"{name}={value}" for name, value in places.items()), "execute=local"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["in"]
