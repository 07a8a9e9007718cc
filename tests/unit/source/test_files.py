from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import ConfigError, SourceError
from pipeline.plan import make
from pipeline.records import EncodedImage, Sidecar, image_id
from pipeline.source.files import Files
from tests.fakes.specs import made
from tests.fakes.tar_samples import images, rejects
from tests.unit.source.test_listing import LINKS


def put(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())


def read_all(source: Files) -> list[tuple[str, bytes]]:
    return images([b for shard in source.shards() for b in source.units(shard, {})])


def test_a_folder_in_slices(tmp_path: Path) -> None:
    put(tmp_path, *(f"d{i % 2}/{i}.jpg" for i in range(7)), "x.PNG", "notes.md", ".git/a.jpg", ".b.jpg")
    source = Files(uri=str(tmp_path), unit_images=3)
    shards = source.shards()
    assert [s.path for s in shards] == ["files-000000", "files-000001", "files-000002"]
    assert [len(s.members) for s in shards] == [3, 3, 2]
    batches = [b for s in shards for b in source.units(s, {})]
    names = ["d0/0.jpg", "d0/2.jpg", "d0/4.jpg", "d0/6.jpg", "d1/1.jpg", "d1/3.jpg", "d1/5.jpg", "x.PNG"]
    assert images(batches) == [(n, n.encode()) for n in names]
    assert [(b.unit.start, b.unit.stop, b.unit.last) for b in batches] == [(0, 3, True), (0, 3, True), (0, 2, True)]
    first = batches[0].items[0]
    assert (first.ref.image_id, first.ref.key) == (image_id("", "d0/0.jpg"), "d0/0")
    assert list(source.units(shards[0], {0: 3})) == []


def test_slices_end_at_bytes_too(tmp_path: Path) -> None:
    for index in range(6):
        (tmp_path / f"{index}.jpg").write_bytes(bytes(100))
    assert [len(s.members) for s in Files(uri=str(tmp_path), unit_bytes=200).shards()] == [2, 2, 2]


def test_sidecars_travel_with_their_image(tmp_path: Path) -> None:
    put(tmp_path, "a.jpg", "a.txt", "a.json", "b.c.jpg", "b.c.txt", "b.txt", "d/a.png", "a.xml")
    source = Files(uri=str(tmp_path))
    (shard,) = source.shards()
    (batch,) = source.units(shard, {})
    sidecars = {i.ref.member: i.sidecars for i in batch.items if isinstance(i, EncodedImage)}
    assert sidecars == {
        "a.jpg": (Sidecar(name="json", data=b"a.json"), Sidecar(name="txt", data=b"a.txt")),
        "b.c.jpg": (Sidecar(name="c.txt", data=b"b.c.txt"),),
        "d/a.png": (),
    }
    assert batch.unit.stop == len(shard.members) == 6
    without = Files(uri=str(tmp_path), sidecars=False)
    assert [m.path for s in without.shards() for m in s.members] == ["a.jpg", "b.c.jpg", "d/a.png"]
    for uri in (f"{tmp_path}/a.jpg", f"{tmp_path}/a.*"):
        (one,) = Files(uri=uri).shards()
        assert [m.path for m in one.members] == ["a.jpg", "a.json", "a.txt"]


def keys_of(source: Files) -> dict[str, str]:
    return {i.ref.member: i.ref.key for s in source.shards() for b in source.units(s, {}) for i in b.items}


def test_keys_are_names_without_the_last_suffix_unique_in_the_whole_run(tmp_path: Path) -> None:
    put(tmp_path, "v1.0.cat.jpg", "v1.0.dog.jpg", "v1.0.dog.png", "d.e/a.jpg", "x.jpg.jpg", "x.jpg", "x.txt")
    assert keys_of(Files(uri=str(tmp_path), unit_images=1)) == {
        "d.e/a.jpg": "d.e/a",
        "v1.0.cat.jpg": "v1.0.cat",
        "v1.0.dog.jpg": "v1.0.dog",
        "v1.0.dog.png": "v1.0.dog.png",
        "x.jpg": "x",
        "x.jpg.jpg": "x.jpg",
    }


def test_a_name_that_cannot_be_read_takes_no_key_from_an_image(tmp_path: Path) -> None:
    put(tmp_path, "a.png")
    (tmp_path / "a.jpg").symlink_to("nowhere")
    assert keys_of(Files(uri=str(tmp_path))) == {"a.jpg": "a.jpg", "a.png": "a"}


def test_a_text_of_two_images_that_cannot_be_read_is_a_row_for_each(tmp_path: Path) -> None:
    put(tmp_path, "a.jpg", "a.png", "a.txt")
    source = Files(uri=str(tmp_path))
    (shard,) = source.shards()
    (tmp_path / "a.txt").unlink()
    (batch,) = source.units(shard, {})
    assert images([batch]) == [("a.jpg", b"a.jpg"), ("a.png", b"a.png")]
    assert rejects([batch]) == [("a.txt", "source_changed")] * 2
    assert len({i.ref.image_id for i in batch.items}) == len({i.ref.key for i in batch.items}) == 4


def test_fields_that_are_named_travel_with_the_images_of_their_sample(tmp_path: Path) -> None:
    put(tmp_path, "1.rgb.png", "1.depth.png", "1.rgb.txt", "2.jpg", "2.jpg.depth.png", "d/3.depth.png", "1.jpg")
    source = Files(uri=str(tmp_path), sidecar_members=("depth.png",))
    batches = [b for shard in source.shards() for b in source.units(shard, {})]
    whole = [item for batch in batches for item in batch.items if isinstance(item, EncodedImage)]
    sidecars = {item.ref.member: {s.name for s in item.sidecars} for item in whole}
    assert sidecars == {"1.jpg": {"depth.png"}, "1.rgb.png": {"depth.png", "rgb.txt"}, "2.jpg": {"jpg.depth.png"}}
    assert rejects(batches) == [("d/3.depth.png", "no_image_member")]
    assert planned(source) == 4
    chosen = Files(uri=str(tmp_path), image_members=("jpg",))
    batches = [b for shard in chosen.shards() for b in chosen.units(shard, {})]
    assert [name for name, _ in images(batches)] == ["1.jpg", "2.jpg"]


def planned(source: Files) -> int:
    return make(source.shards(), ()).images


WORDS = st.sampled_from(["a", "A", "v1.0", "é", "x y", "b.seg", "c.", "#1"])
PATHS = st.builds(
    "{}{}{}".format,
    st.sampled_from(["", "d/", "d.e/ü/"]),
    WORDS,
    st.sampled_from([".jpg", ".JPG", ".png", ".txt", ".json", ".tiff", ".md", ""]),
)


@settings(max_examples=60, deadline=None)
@given(st.sets(PATHS, max_size=15), st.integers(1, 4))
def test_the_images_are_those_that_a_walk_of_the_folder_finds(paths: set[str], unit_images: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        put(Path(folder), *paths)
        put(Path(folder), "sure.jpg")
        walked = [os.path.join(at, name) for at, _, found in os.walk(folder) for name in found]
        wanted = {os.path.relpath(p, folder) for p in walked if p.lower().endswith((".jpg", ".png", ".tiff"))}
        source = Files(uri=folder, unit_images=unit_images)
        batches = [b for shard in source.shards() for b in source.units(shard, {})]
        found = images(batches)
        assert sorted(name for name, _ in found) == sorted(wanted)
        assert all(data == name.encode() for name, data in found)
        assert rejects(batches) == []
        assert planned(source) == len(wanted)
        refs = [item.ref for batch in batches for item in batch.items]
        assert len({ref.key for ref in refs}) == len({ref.image_id for ref in refs}) == len(wanted)
        for item in (i for b in batches for i in b.items if isinstance(i, EncodedImage)):
            texts = {os.path.splitext(item.ref.member)[0] + suffix for suffix in (".txt", ".json")}
            assert {s.data.decode() for s in item.sidecars} == texts & {os.path.relpath(p, folder) for p in walked}


def test_globs_and_single_files(tmp_path: Path) -> None:
    put(tmp_path, "a.jpg", "b.png", "d/c.jpg")
    assert [n for n, _ in read_all(Files(uri=f"{tmp_path}/*.jpg"))] == ["a.jpg"]
    assert [n for n, _ in read_all(Files(uri=f"{tmp_path}/**/*.jpg"))] == ["a.jpg", "d/c.jpg"]
    assert [n for n, _ in read_all(Files(uri=f"{tmp_path}/b.png"))] == ["b.png"]


def test_files_that_changed_or_vanished_are_rows(tmp_path: Path) -> None:
    put(tmp_path, "a.jpg", "b.jpg", "c.jpg", "d.jpg", "d.txt")
    source = Files(uri=str(tmp_path), max_image_bytes=100)
    (tmp_path / "e.jpg").write_bytes(bytes(101))
    (shard,) = source.shards()
    (tmp_path / "a.jpg").write_bytes(b"other bytes")
    (tmp_path / "b.jpg").unlink()
    (tmp_path / "d.txt").unlink()
    (batch,) = source.units(shard, {})
    assert images([batch]) == [("c.jpg", b"c.jpg"), ("d.jpg", b"d.jpg")]
    assert rejects([batch]) == [
        ("a.jpg", "source_changed"),
        ("b.jpg", "source_changed"),
        ("d.txt", "source_changed"),
        ("e.jpg", "too_many_bytes"),
    ]
    assert batch.unit.failure == ""


@pytest.mark.promise(LINKS)
def test_links_to_other_folders_are_rows_unless_they_are_followed(tmp_path: Path) -> None:
    put(tmp_path, "in/a.jpg", "other/b.jpg", "other/c.txt", "other/more/d.jpg")
    for name, to in (("b.jpg", "b.jpg"), ("a.txt", "c.txt"), ("more", "more")):
        (tmp_path / "in" / name).symlink_to(tmp_path / "other" / to)

    def taken(
        uri: Path, follow: bool
    ) -> tuple[list[tuple[str, bytes]], list[tuple[str, str]], list[tuple[Sidecar, ...]]]:
        source = Files(uri=str(uri), follow_links=follow)
        batches = [b for shard in source.shards() for b in source.units(shard, {})]
        sidecars = [item.sidecars for b in batches for item in b.items if isinstance(item, EncodedImage)]
        return images(batches), rejects(batches), sidecars

    text = (Sidecar(name="txt", data=b"other/c.txt"),)
    outside = [(name, "link_outside") for name in ("a.txt", "b.jpg", "more")]
    followed = [("a.jpg", b"in/a.jpg"), ("b.jpg", b"other/b.jpg"), ("more/d.jpg", b"other/more/d.jpg")]
    assert taken(tmp_path / "in", False) == ([("a.jpg", b"in/a.jpg")], outside, [()])
    assert taken(tmp_path / "in", True) == (followed, [], [text, (), ()])
    # The user names one image, but not its sidecar, which is a link.
    assert taken(tmp_path / "in/a.jpg", False) == ([("a.jpg", b"in/a.jpg")], [("a.txt", "link_outside")], [()])
    assert taken(tmp_path / "in/a.jpg", True) == ([("a.jpg", b"in/a.jpg")], [], [text])
    (tmp_path / "in" / "a.jpg").unlink()
    with pytest.raises(SourceError, match=r"but 3 links to other folders; source\.follow_links=true reads them"):
        Files(uri=str(tmp_path / "in")).shards()
    with pytest.raises(ConfigError, match=r"source\.follow_links: expected true or false, got 'yes'"):
        made("source", Files, uri=str(tmp_path / "in"), follow_links="yes")


def test_the_etag_of_a_slice_follows_its_files(tmp_path: Path) -> None:
    put(tmp_path, "a.jpg", "b.jpg")
    source = Files(uri=str(tmp_path))
    (before,), (again,) = source.shards(), source.shards()
    (tmp_path / "a.jpg").write_bytes(b"other")
    (after,) = source.shards()
    assert before == again
    assert before.etag != after.etag


def test_a_uri_without_images_is_refused(tmp_path: Path) -> None:
    put(tmp_path, "a.txt")
    with pytest.raises(SourceError, match="no images"):
        Files(uri=str(tmp_path)).shards()
    with pytest.raises(SourceError, match="does not exist"):
        Files(uri=f"{tmp_path}/gone.jpg").shards()
    with pytest.raises(ConfigError, match=r"source\.sidecars: expected true or false, got 'yes'"):
        made("source", Files, uri="x", sidecars="yes")
