from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.errors import ConfigError, SourceError
from pipeline.source.auto import Auto, detect
from pipeline.source.files import Files
from pipeline.source.parquet import Parquet
from pipeline.source.webdataset import WebDataset
from tests.fakes.tar_samples import images, tar_of


def test_a_suffix_decides_without_a_listing() -> None:
    assert detect("s3://nowhere/{00..12}.tar") == "webdataset"
    assert detect("s3://nowhere/*.tar.gz") == "webdataset"
    assert detect("x.TGZ") == "webdataset"
    assert detect("s3://nowhere/x/*.parquet") == "parquet"
    assert detect("x/**/*.jpg") == "files"
    assert detect("x/photos") is None


def test_the_objects_of_a_folder_decide(tmp_path: Path) -> None:
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "a.tar").write_bytes(tar_of([("a.jpg", b"1")]))
    (tmp_path / "p").mkdir()
    pq.write_table(pa.table({"image": [b"2"]}), tmp_path / "p" / "a.parquet")
    (tmp_path / "f").mkdir()
    (tmp_path / "f" / "a.jpg").write_bytes(b"3")
    (tmp_path / "f" / "a.txt").write_bytes(b"caption")
    for folder, cls, data in (("t", WebDataset, b"1"), ("p", Parquet, b"2"), ("f", Files, b"3")):
        source = Auto(uri=str(tmp_path / folder), unit_images=7)
        shards = source.shards()
        source.probe(shards)
        resolved = source.resolve(shards)
        assert (type(resolved), resolved.unit_images) == (cls, 7)
        batches = list(source.units(shards[0], {}))
        assert [d for _, d in images(batches)] == [data]
        assert [b.items for b in batches] == [b.items for b in resolved.units(shards[0], {})]


def test_keys_of_samples_reach_the_kind_that_takes_them(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(tar_of([("1.jpg", b"1"), ("1.seg.png", b"2"), ("2.png", b"3")]))
    source = Auto(uri=str(tmp_path), sidecar_members=("seg.png",), image_members=("jpg", "png"), image_suffixes=(".x",))
    shards = source.shards()
    assert source.resolve(shards) == WebDataset(
        uri=str(tmp_path), sidecar_members=("seg.png",), image_members=("jpg", "png"), image_suffixes=(".x",)
    )
    assert [name for name, _ in images(list(source.units(shards[0], {})))] == ["1.jpg", "2.png"]
    (tmp_path / "a.tar").unlink()
    pq.write_table(pa.table({"image": [b"2"]}), tmp_path / "a.parquet")
    with pytest.raises(ConfigError, match=r"source\.image_members is for tars and folders, but .* holds Parquet"):
        Auto(uri=str(tmp_path), image_members=("jpg",)).shards()


def test_a_folder_of_several_kinds_or_of_none_is_refused(tmp_path: Path) -> None:
    source = Auto(uri=str(tmp_path))
    (tmp_path / "a.txt").write_bytes(b"")
    with pytest.raises(
        SourceError, match=r"no tar shard, Parquet file or image there but 1 file not read: other \(.txt\) 1"
    ):
        source.shards()
    (tmp_path / "a.tar").write_bytes(b"")
    (tmp_path / "a.jpg").write_bytes(b"")
    with pytest.raises(SourceError, match="1 for source=webdataset, 1 for source=files"):
        source.shards()


def test_a_broken_link_does_not_make_a_second_kind(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"")
    (tmp_path / "old.tar").symlink_to("gone")
    (shard,) = Auto(uri=str(tmp_path)).shards()
    assert [(m.path, m.problem) for m in shard.members] == [("a.jpg", ""), ("old.tar", "dangling_link")]


def test_images_are_found_by_their_bytes_too(tmp_path: Path) -> None:
    for name in ("noext", "b.jpg_large"):
        (tmp_path / name).write_bytes(b"\xff\xd8\xff\xe0 no more")
    (shard,) = Auto(uri=str(tmp_path)).shards()
    assert [m.path for m in shard.members] == ["b.jpg_large", "noext"]
    assert Auto(uri=f"{tmp_path}/noext").shards()[0].members[0].path == "noext"


def test_unread_files_fail_a_run_that_says_so(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"")
    (tmp_path / "b.tga").write_bytes(b"")
    (tmp_path / "notes.txt").write_bytes(b"")
    warned = Auto(uri=str(tmp_path)).listed().unread
    assert (warned.images, warned.others) == ((("TGA", 1),), (("other (.txt)", 1),))
    with pytest.raises(SourceError, match=r"which are not read \(TGA 1\)"):
        Auto(uri=str(tmp_path), unread="fail").shards()
    assert Auto(uri=str(tmp_path), unread="ignore").listed().unread.files == 0
    (tmp_path / "b.tga").unlink()
    assert Auto(uri=str(tmp_path), unread="fail").listed().unread.files == 1
