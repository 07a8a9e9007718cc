"""Sources on a real S3: the same units as on disk."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.errors import SourceError
from pipeline.source.auto import Auto
from pipeline.storage.store import Store, open_store
from tests.fakes.s3_server import S3
from tests.fakes.tar_samples import image_bytes, images, packed, tar_of

MEMBERS = [(f"{i:04d}.jpg", image_bytes(i, 40_000)) for i in range(20)]


def put_sources(folder: Path) -> None:
    for name in ("tars", "tables", "loose/d"):
        (folder / name).mkdir(parents=True)
    (folder / "tars" / "00.tar").write_bytes(tar_of(MEMBERS))
    (folder / "tars" / "01.tar.gz").write_bytes(packed(tar_of(MEMBERS)))
    (folder / "tars" / "02.tar").write_bytes(tar_of(MEMBERS)[:100_000])
    pq.write_table(pa.table({"image": [d for _, d in MEMBERS]}), folder / "tables" / "a.parquet", row_group_size=7)
    for name, data in MEMBERS:
        (folder / "loose" / "d" / name).write_bytes(data)
        (folder / "loose" / "d" / name.replace("jpg", "txt")).write_bytes(b"caption")


@pytest.fixture
def uploaded(s3: S3, tmp_path: Path) -> Store:
    put_sources(tmp_path)
    remote = open_store(s3.uri("sources"))
    for info in open_store(str(tmp_path)).list():
        remote.put(info.path, (tmp_path / info.path).read_bytes())
    return remote


@pytest.mark.parametrize("folder", ["tars", "tables", "loose"])
def test_s3_gives_what_the_disk_gives(folder: str, uploaded: Store, tmp_path: Path) -> None:
    local = Auto(uri=str(tmp_path / folder), unit_images=4)
    remote = Auto(uri=uploaded.join(folder), unit_images=4)
    for here, there in zip(local.shards(), remote.shards(), strict=True):
        expected, found = list(local.units(here, {})), list(remote.units(there, {}))
        assert [b.items for b in found] == [b.items for b in expected]
        assert [b.unit.unit_id for b in found] == [b.unit.unit_id for b in expected]
        assert there.uri.startswith("s3://")
        done = {b.unit.start: b.unit.stop for b in found[:-1]}
        assert [b.items for b in remote.units(there, done)] == [found[-1].items]


def test_a_replaced_object_is_a_failure(uploaded: Store) -> None:
    source = Auto(uri=uploaded.join("tars/00.tar"))
    shards = source.shards()
    source.probe(shards)
    assert images(list(source.units(shards[0], {}))) == MEMBERS
    uploaded.put("tars/00.tar", tar_of(MEMBERS[::-1]))
    assert [b.unit.failure for b in source.units(shards[0], {})] == ["source_changed"]


def test_what_is_not_there_is_refused(s3: S3, uploaded: Store) -> None:
    for uri in ("s3://no-such-bucket-here/x", uploaded.join("tars/gone.tar"), uploaded.join("nothing")):
        with pytest.raises(SourceError, match=r"source\.uri="):
            Auto(uri=uri).shards()
