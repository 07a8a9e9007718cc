from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import ConfigError, SourceError
from pipeline.records import EncodedImage
from pipeline.source.auto import Auto
from pipeline.source.listing import find, places_of
from pipeline.source.several import common_root, uris_of
from tests.fakes.tar_samples import images, tar_of


def test_a_list_is_typed_or_read_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("list.txt").write_text("a\n\n  s3://b/c,d  \n# no source\na\n")
    assert uris_of("[a, b/c ]") == ("a", "b/c")
    assert uris_of("@list.txt") == uris_of(f"@{tmp_path}/list.txt") == ("a", "s3://b/c,d")
    for one in ("a", "a,b", "[ab]", "photos[2019]", "{a,b}", "s3://b/x"):
        assert uris_of(one) == (one,)
    for literal in ("[a,b]", "@list"):
        Path(literal).mkdir()
        assert uris_of(literal) == (literal,)
    for wrong in ("@gone.txt", "[,]"):
        with pytest.raises(ConfigError, match=r"source\.uri="):
            uris_of(wrong)


def test_the_common_root() -> None:
    assert common_root(["/data/a", "/data/b/c"]) == "/data"
    assert common_root(["/data/a", "/data/ab"]) == "/data"
    assert common_root(["/a", "/b"]) == "/"
    assert common_root(["/data/a", "/data/a/b"]) == "/data/a"
    assert common_root(["s3://bucket/a/b", "s3://bucket/a/c"]) == "s3://bucket/a"
    assert common_root(["s3://bucket", "s3://bucket/c"]) == "s3://bucket"
    for roots in (["s3://one/a", "s3://two/a"], ["s3://one/a", "/a"], ["/a", "s3://one/a"]):
        with pytest.raises(SourceError, match="lie in different stores"):
            common_root(roots)


@pytest.mark.promise("Several sources are one run, and each image keeps a place of its own")
def test_images_of_several_folders_have_places_of_their_own(tmp_path: Path) -> None:
    for name in ("a/x.jpg", "b/deep/x.jpg", "b/deep/x.txt", "c/x.jpg", "c/x.json", "b/y.zip", "c/z.zip"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    uri = f"[{tmp_path}/a,{tmp_path}/b/deep/*.jpg,{tmp_path}/c/x.jpg,{tmp_path}/a/x.jpg,{tmp_path}/b]"
    source = Auto(uri=uri)
    listed = source.listed()
    assert (listed.root, listed.unread.images) == (str(tmp_path), (("ZIP", 1),))
    (batch,) = (b for shard in listed.shards for b in source.units(shard, {}))
    assert images([batch]) == [(name, name.encode()) for name in ("a/x.jpg", "b/deep/x.jpg", "c/x.jpg")]
    assert [s.data for i in batch.items if isinstance(i, EncodedImage) for s in i.sidecars] == [
        b"b/deep/x.txt",
        b"c/x.json",
    ]
    assert len({item.ref.image_id for item in batch.items}) == len({item.ref.key for item in batch.items}) == 3
    assert [Path(place).name for place in places_of(uri)] == ["a", "deep", "x.jpg", "x.jpg", "b"]


def test_shards_of_several_folders_keep_their_names(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "0.tar").write_bytes(tar_of([("x.jpg", name.encode())]))
    source = Auto(uri=f"[{tmp_path}/a,{tmp_path}/b/0.tar]")
    shards = source.shards()
    assert [(shard.path, shard.uri) for shard in shards] == [(f"{n}/0.tar", f"{tmp_path}/{n}/0.tar") for n in "ab"]
    assert [data for shard in shards for _, data in images(list(source.units(shard, {})))] == [b"a", b"b"]
    assert [o.path for o in find(f"[{tmp_path}/a,{tmp_path}/a]", [".tar"]).found] == ["0.tar"]
