"""storage/s3.py and what sources make of it, over a bucket in memory: keys and refusals that tests/s3 cannot bring."""

from __future__ import annotations

import errno
import pickle
from collections.abc import Callable
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.errors import SourceError
from pipeline.records import EncodedImage, UnitBatch
from pipeline.source import object_errors
from pipeline.source.auto import Auto
from pipeline.storage import s3 as backend
from pipeline.storage.s3 import S3Backend
from pipeline.storage.store import open_store
from tests.fakes.s3_bucket import Bucket, serve
from tests.fakes.tar_samples import image_bytes, images, rejects, tar_of

ODD = ("in//b.jpg", "in/d//c.jpg", "in/./d.jpg", "in/d/../e.jpg", "in/f.jpg/", "in/" + "n" * 300 + ".jpg")
PLAIN = {f"in/{i}.jpg": image_bytes(i) for i in range(4)}


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Bucket:
    made = Bucket({**PLAIN, "in/marker/": b"", "in/noname//": b"data"})
    serve(made, monkeypatch)
    monkeypatch.setattr(object_errors, "_witnesses", {})
    return made


def read(uri: str = "s3://bucket/in") -> list[UnitBatch[EncodedImage]]:
    source = Auto(uri=uri)
    return [batch for shard in source.shards() for batch in source.units(shard, {})]


@pytest.mark.promise("One object that cannot be read is one rejected row, and the rest of the run goes on")
def test_each_odd_key_is_one_row(bucket: Bucket) -> None:
    bucket.objects |= dict.fromkeys(ODD, b"data")
    done = read()
    assert images(done) == [(key.removeprefix("in/"), data) for key, data in PLAIN.items()]
    assert sorted(rejects(done)) == sorted((key.removeprefix("in/"), "unsafe_name") for key in ODD)
    told = Auto(uri="s3://bucket/in").listed().unread
    assert told.images == (("cannot be opened", 1),)  # noname//
    bucket.objects["/lead.jpg"] = b"data"
    assert ("/lead.jpg", "unsafe_name") in rejects(read("s3://bucket"))


def test_a_shard_of_an_odd_key_fails_alone(bucket: Bucket) -> None:
    bucket.objects = {"t//a.tar": b"", "t/b.tar": tar_of([("x.jpg", b"1")])}
    done = read("s3://bucket/t")
    assert images(done) == [("x.jpg", b"1")]
    assert [batch.unit.failure for batch in done] == ["unsafe_name", ""]


def test_an_output_is_listed_without_odd_keys(bucket: Bucket) -> None:
    bucket.objects |= dict.fromkeys(ODD[:5], b"data")
    assert [info.path for info in open_store("s3://bucket/in").list()] == [k.removeprefix("in/") for k in PLAIN]


@pytest.mark.promise("One object that cannot be read is one rejected row, and the rest of the run goes on")
@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("InvalidObjectState", "archived"),
        ("AccessDenied", "no_read_right"),
        ("KMS.DisabledException", "no_read_right"),
        ("InvalidRequest", "no_read_right"),  # encrypted with a key of the customer's
    ],
)
def test_an_object_that_is_refused_is_one_row(code: str, reason: str, bucket: Bucket) -> None:
    bucket.refused["in/1.jpg"] = code
    done = read()
    assert [name for name, _ in images(done)] == ["0.jpg", "2.jpg", "3.jpg"]
    assert rejects(done) == [("1.jpg", reason)]


@pytest.mark.promise("One object that cannot be read is one rejected row, and the rest of the run goes on")
@pytest.mark.parametrize("code", ["InvalidObjectState", "AccessDenied"])
@pytest.mark.parametrize("suffix", [".tar", ".parquet"])
def test_a_shard_that_is_refused_fails_alone(suffix: str, code: str, bucket: Bucket) -> None:
    table = pa.BufferOutputStream()
    pq.write_table(pa.table({"image": [b"1"]}), table)
    data = tar_of([("0.jpg", b"1")]) if suffix == ".tar" else table.getvalue().to_pybytes()
    bucket.objects = {f"s/{i}{suffix}": data for i in range(3)}
    bucket.refused[f"s/0{suffix}"] = code
    done = read("s3://bucket/s")
    failed = {"InvalidObjectState": "archived", "AccessDenied": "no_read_right"}[code]
    assert [batch.unit.failure for batch in done] == [failed, "", ""]
    assert len(images(done)) == 2


def test_a_bucket_that_gives_nothing_more_stops_the_run(bucket: Bucket) -> None:
    source = Auto(uri="s3://bucket/in")
    (shard,) = source.shards()
    for code in ("AccessDenied", "ExpiredToken"):
        bucket.refused = dict.fromkeys(PLAIN, code)
        with pytest.raises(PermissionError, match="no access"):
            list(source.units(shard, {}))
    bucket.refused = {"*": "AccessDenied"}
    with pytest.raises(PermissionError):
        list(source.units(shard, {}))
    with pytest.raises(SourceError, match=r"source\.uri=s3://bucket/in cannot be read: no access"):
        source.shards()


def test_an_archived_object_has_an_errno_of_its_own(bucket: Bucket) -> None:
    bucket.refused["in/1.jpg"] = "InvalidObjectState"
    store = open_store("s3://bucket/in")
    calls: list[Callable[[], object]] = [lambda: store.read("1.jpg"), lambda: store.read_range("1.jpg", 0, 5)]
    for call in calls:
        with pytest.raises(OSError, match="restore it first") as caught:
            call()
        assert caught.value.errno == errno.ENODATA


def test_a_key_is_literal_before_it_is_a_pattern(bucket: Bucket) -> None:
    bucket.objects["in/[1].jpg"] = b"data"
    assert [name for name, _ in images(read("s3://bucket/in/[1].jpg"))] == ["[1].jpg"]
    assert [name for name, _ in images(read("s3://bucket/in/[12].jpg"))] == ["1.jpg", "2.jpg"]
    assert [name for name, _ in images(read("s3://bucket/in/*.jpg"))] == ["0.jpg", "1.jpg", "2.jpg", "3.jpg", "[1].jpg"]


def test_the_requester_pays_in_every_process_that_reads(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[str] = []

    def call_s3(operation: str, **arguments: str) -> dict[str, list[str]]:
        sent.append(f"{operation} {arguments['Bucket']} {arguments.get('RequestPayer')}")
        return {}

    monkeypatch.setattr(backend, "PAYING", set())
    monkeypatch.setattr(backend, "_filesystem", lambda: SimpleNamespace(call_s3=call_s3))
    source = pickle.dumps(Auto(uri="s3://paid/in", requester_pays=True))
    backend.PAYING.clear()  # as in another process
    S3Backend("paid", "in/").list("", 0)
    assert pickle.loads(source) == Auto(uri="s3://paid/in", requester_pays=True)
    Auto(uri="s3://other/in")
    Auto(uri="/data", requester_pays=True)
    for name in ("paid", "other"):
        S3Backend(name, "in/").list("", 0)
    assert sent == [f"list_objects_v2 {said}" for said in ("paid None", "paid requester", "other None")]
