from __future__ import annotations

import io
import itertools
import pickle
import re
import tarfile
import tracemalloc
import zlib
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import psutil
import pytest

from pipeline.errors import ConfigError, SourceError
from pipeline.image.kinds import IMAGE_SUFFIXES
from pipeline.records import EncodedImage, Sidecar, image_id, unit_id
from pipeline.source import keys as hashes
from pipeline.source.files import Files
from pipeline.source.webdataset import WebDataset
from tests.fakes.specs import GIVEN, made, preset
from tests.fakes.tar_samples import (
    bare,
    encoded_size,
    image_bytes,
    images,
    of_type,
    packed,
    read,
    rejects,
    tar_of,
    write,
)

TWENTY = [(f"{i:04d}.jpg", image_bytes(i)) for i in range(20)]


def test_samples_are_runs_of_one_key(tmp_path: Path) -> None:
    data = tar_of(
        [
            ("d/0001.jpg", b"one"),
            ("d/0001.txt", b"caption"),
            ("d/0001.seg.png", b"mask"),
            ("d/0002.txt", b"first"),
            ("d/0002.PNG", b"two"),
            ("e/0002.webp", b"three"),
        ]
    )
    (batch,) = read(tmp_path, data)
    one, two, three = batch.items
    assert isinstance(one, EncodedImage)
    assert (one.ref.key, one.ref.member, one.data) == ("d/0001", "d/0001.jpg", b"one")
    assert one.sidecars == (Sidecar(name="txt", data=b"caption"), Sidecar(name="seg.png", data=b"mask"))
    assert one.ref.image_id == image_id("a.tar", "d/0001.jpg")
    assert one.ref.sha256 == sha256(b"one").hexdigest()
    assert isinstance(two, EncodedImage)
    assert (two.ref.member, two.sidecars) == ("d/0002.PNG", (Sidecar(name="txt", data=b"first"),))
    assert (three.ref.key, three.ref.member) == ("e/0002", "e/0002.webp")
    assert batch.unit.unit_id == unit_id("a.tar", 0)
    assert (batch.unit.start, batch.unit.last, batch.unit.failure) == (0, True, "")
    assert batch.seconds["read"] > 0


def test_the_plain_suffix_is_the_image_wherever_it_stands(tmp_path: Path) -> None:
    batches = read(tmp_path, tar_of([("1.mask.png", b"mask"), ("1.png", b"image"), ("2.seg.png", b"only")]))
    assert images(batches) == [("1.png", b"image"), ("2.seg.png", b"only")]


def test_a_member_that_is_not_an_image_is_a_row_with_a_reason(tmp_path: Path) -> None:
    data = tar_of(
        [
            of_type("folder", tarfile.DIRTYPE),
            ("only.txt", b"words"),
            of_type("link.jpg", tarfile.SYMTYPE, "/etc/passwd"),
            ("/abs.jpg", b"a"),
            ("../up.jpg", b"b"),
            ("x/../../up.jpg", b"c"),
            ("good.jpg", b"g"),
            of_type("good.txt", tarfile.LNKTYPE, "only.txt"),
            ("line\nbreak.jpg", b"d"),
            ("README", b"e"),
            ("._hidden.jpg", b"f"),
        ]
    )
    (folder := tmp_path / "s").mkdir()
    (folder / "a.tar").write_bytes(data)
    source = WebDataset(uri=str(folder))
    batches = list(source.units(source.shards()[0], {}))
    assert rejects(batches) == [
        ("only.txt", "no_image_member"),
        ("link.jpg", "tar_member_type"),
        ("/abs.jpg", "unsafe_name"),
        ("../up.jpg", "unsafe_name"),
        ("x/../../up.jpg", "unsafe_name"),
        ("good.txt", "tar_member_type"),
        ("line\nbreak.jpg", "unsafe_name"),
        ("README", "no_image_member"),
    ]
    assert images(batches) == [("good.jpg", b"g"), ("._hidden.jpg", b"f")]
    assert {i.stage for b in batches for i in b.items if not isinstance(i, EncodedImage)} == {"read"}


def test_names_are_normalised(tmp_path: Path) -> None:
    assert images(read(tmp_path, tar_of([("./a//b.jpg", b"1")]))) == [("a/b.jpg", b"1")]


def test_duplicates(tmp_path: Path) -> None:
    members = [("a.jpg", b"1"), ("a.jpg", b"2"), ("b.jpg", b"3"), ("a.txt", b"late"), ("b.jpg", b"4")]
    source, shard = write(tmp_path, tar_of(members))
    (batch,) = replace(source, unit_images=10).units(shard, {})
    assert images([batch]) == [("a.jpg", b"1"), ("b.jpg", b"3")]
    assert rejects([batch]) == [(name, "duplicate_member") for name in ("a.jpg", "a.txt", "b.jpg")]
    assert len({item.ref.image_id for item in batch.items}) == 5


def test_a_key_that_comes_again_in_a_later_unit_is_a_duplicate_whatever_is_committed(tmp_path: Path) -> None:
    names = ["a", "b", "c", "d", "a", "e", "b", "f", "g", "a"]
    source, shard = write(tmp_path, tar_of([(f"{name}.jpg", bytes([i])) for i, name in enumerate(names)]))
    source = replace(source, unit_images=2)
    whole = list(source.units(shard, {}))
    assert [name for name, _ in images(whole)] == [f"{name}.jpg" for name in "abcdefg"]
    assert rejects(whole) == [(f"{name}.jpg", "duplicate_member") for name in "aba"]
    assert len({item.ref.image_id for batch in whole for item in batch.items}) == len(names)
    for chosen in range(1 << len(whole)):
        committed = [batch for i, batch in enumerate(whole) if chosen >> i & 1]
        keys = tuple((b.unit.start, hashes.packed(item.ref.key for item in b.items)) for b in committed)
        done = {b.unit.start: b.unit.stop for b in committed}
        rest = list(source.units(replace(shard, keys=keys), done))
        assert [b.items for b in rest] == [b.items for b in whole if b not in committed]


def test_large_members_are_skipped_not_read(tmp_path: Path) -> None:
    big = 40 << 20
    data = tar_of(
        [("a.jpg", b"1"), ("big.jpg", b"x" * big), ("c.jpg", b"3"), ("c.bin", b"y" * 90), ("c.npy", b"z" * 90)]
    )
    (folder := tmp_path / "s").mkdir()
    (folder / "a.tar").write_bytes(data)
    source = WebDataset(uri=str(folder), max_image_bytes=100)
    (shard,) = source.shards()
    del data
    before = psutil.Process().io_counters().read_chars
    batches = list(source.units(shard, {}))
    assert psutil.Process().io_counters().read_chars - before < 4 << 20
    assert images(batches) == [("a.jpg", b"1"), ("c.jpg", b"3")]
    assert rejects(batches) == [("big.jpg", "too_many_bytes"), ("c.npy", "too_many_bytes")]


def test_a_rejected_image_does_not_make_its_mask_the_image(tmp_path: Path) -> None:
    source, shard = write(tmp_path, tar_of([("a.jpg", b"x" * 200), ("a.mask.png", b"m")]))
    batches = list(replace(source, max_image_bytes=100).units(shard, {}))
    assert images(batches) == []
    assert rejects(batches) == [("a.jpg", "too_many_bytes")]


def test_thousands_of_members_of_one_key_fail_the_shard(tmp_path: Path) -> None:
    (batch,) = read(tmp_path, tar_of([(f"img.{i:05d}.jpg", b"x") for i in range(1001)]))
    assert batch.unit.failure == "sample_too_long"
    assert rejects([batch])[-1][1] == "sample_too_long"


def test_units_end_at_images_or_bytes_and_tile_the_shard(tmp_path: Path) -> None:
    source, shard = write(tmp_path, tar_of(TWENTY))
    batches = list(source.units(shard, {}))
    assert [len(b.items) for b in batches] == [4] * 5
    assert [b.unit.last for b in batches] == [False] * 4 + [True]  # the last one is full, and known to be the last
    assert [b.unit.start for b in batches[1:]] == [b.unit.stop for b in batches[:-1]]
    by_bytes = list(replace(source, unit_images=100, unit_bytes=2000).units(shard, {}))
    assert images(by_bytes) == TWENTY
    assert all(encoded_size(b.items[:-1]) < 2000 for b in by_bytes)
    assert all(encoded_size(b.items) >= 2000 for b in by_bytes[:-1])


def test_an_empty_archive_is_one_empty_unit(tmp_path: Path) -> None:
    for data, name in ((tar_of([]), "a.tar"), (packed(tar_of([])), "a.tar.gz")):
        (batch,) = read(tmp_path / name, data, name)
        assert (batch.items, batch.unit.last, batch.unit.failure) == ((), True, "")
        assert read(tmp_path / name, data, name, {0: batch.unit.stop}) == []


def test_no_cut_loses_a_complete_member_or_goes_unnoticed(tmp_path: Path) -> None:
    data = tar_of(TWENTY)
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        stops = [info.offset_data + info.size for info in tar]
    end = stops[-1] + -stops[-1] % 512 + 1024
    for cut in sorted({*range(0, len(data), 512), *range(0, end, 61), end - 1, end, end + 1}):
        batches = read(tmp_path, data[:cut])
        complete = [member for member, stop in zip(TWENTY, stops, strict=True) if stop <= cut]
        assert images(batches) == complete, cut
        failed = [b.unit.failure for b in batches if b.unit.failure]
        assert bool(failed) == (cut < end), cut
        assert [reason for _, reason in rejects(batches)] == failed, cut
        assert [b.unit.last for b in batches] == [False] * (len(batches) - 1) + [True], cut
        assert set(failed) <= {"tar_truncated", "tar_no_end"}, cut


def test_no_cut_of_a_gzipped_tar_loses_what_still_unpacks(tmp_path: Path) -> None:
    whole = tar_of(TWENTY)
    data = packed(whole)
    with tarfile.open(fileobj=io.BytesIO(whole)) as tar:
        stops = [info.offset_data + info.size for info in tar]
    for cut in range(0, len(data), 7):
        batches = read(tmp_path, data[:cut], "a.tgz")
        unpacked = len(zlib.decompressobj(wbits=31).decompress(data[:cut]))
        complete = [member for member, stop in zip(TWENTY, stops, strict=True) if stop <= unpacked]
        assert images(batches) == complete, cut
        assert batches[-1].unit.failure == "gzip_truncated", cut


def test_other_damage_of_a_gzipped_tar(tmp_path: Path) -> None:
    data = packed(tar_of(TWENTY))
    flipped_crc = data[:-8] + bytes([data[-8] ^ 1]) + data[-7:]
    batches = read(tmp_path, flipped_crc, "a.tar.gz")
    assert images(batches) == TWENTY
    assert batches[-1].unit.failure == "gzip_corrupt"
    assert read(tmp_path, data + b"garbage", "a.tar.gz")[-1].unit.failure == "gzip_trailing_data"
    assert read(tmp_path, data + bytes(1000), "a.tar.gz")[-1].unit.failure == ""
    assert read(tmp_path, data + data, "a.tar.gz")[-1].unit.failure == "tar_trailing_data"
    assert read(tmp_path, b"no gzip at all", "a.tar.gz")[-1].unit.failure == "gzip_corrupt"


SHARDS = {
    "whole": ("a.tar", tar_of(TWENTY)),
    "gzipped": ("a.tar.gz", packed(tar_of(TWENTY))),
    "cut inside": ("a.tar", tar_of(TWENTY)[: 14 * 1536 + 600]),
    "cut at the bound of a unit": ("a.tar", tar_of(TWENTY)[: 16 * 1536]),
    "gzipped and cut": ("a.tar.gz", packed(tar_of(TWENTY)[: 14 * 1536 + 600])),
    "concatenated": ("a.tar", tar_of(TWENTY) * 2),
    "folders between": (
        "a.tar",
        tar_of([m for i, t in enumerate(TWENTY) for m in (of_type(f"f{i}", tarfile.DIRTYPE), t)], tarfile.PAX_FORMAT),
    ),
    "long names": ("a.tgz", packed(tar_of([("n" * 150 + name, data) for name, data in TWENTY], tarfile.GNU_FORMAT))),
}


@pytest.mark.parametrize("kind", SHARDS)
def test_committed_units_do_not_change_the_others(kind: str, tmp_path: Path) -> None:
    name, data = SHARDS[kind]
    source, shard = write(tmp_path / "s", data, name)
    all_units = list(source.units(shard, {}))
    assert len(all_units) >= 4
    for chosen in itertools.product([False, True], repeat=len(all_units)):
        done = {b.unit.start: b.unit.stop for b, c in zip(all_units, chosen, strict=True) if c}
        left = [b for b, c in zip(all_units, chosen, strict=True) if not c]
        assert bare(list(source.units(shard, done))) == bare(left)


def test_a_resume_reads_no_committed_unit(tmp_path: Path) -> None:
    source, shard = write(tmp_path, tar_of([(f"{i}.jpg", image_bytes(i, 2 << 20)) for i in range(20)]))
    units = [b.unit for b in source.units(shard, {})]
    before = psutil.Process().io_counters().read_chars
    done = {u.start: u.stop for u in units[:-1]}
    (last,) = source.units(shard, done)
    assert psutil.Process().io_counters().read_chars - before < encoded_size(last.items) + (2 << 20)


def test_a_replaced_shard_is_a_failure(tmp_path: Path) -> None:
    source, shard = write(tmp_path, tar_of(TWENTY))
    done = {b.unit.start: b.unit.stop for b in itertools.islice(source.units(shard, {}), 2)}
    (tmp_path / "a.tar").write_bytes(tar_of(TWENTY[::-1]))
    (batch,) = source.units(shard, done)
    assert (batch.unit.failure, batch.unit.start) == ("source_changed", max(done.values()))
    assert rejects([batch]) == [("a.tar@0", "source_changed")]
    (tmp_path / "other").write_bytes(b"")  # an empty folder may be a mount that was lost
    (tmp_path / "a.tar").unlink()
    assert [b.unit.failure for b in source.units(shard, {})] == ["source_changed"]


def test_a_shard_replaced_while_it_is_read_is_a_failure(tmp_path: Path) -> None:
    source, shard = write(tmp_path, tar_of([(f"{i}.jpg", image_bytes(i, 2 << 20)) for i in range(12)]))
    walk = source.units(shard, {})
    first = next(walk)
    (tmp_path / "a.tar").write_bytes(b"something else")
    *_, last = walk
    assert (len(first.items), last.unit.failure) == (4, "source_changed")


def test_memory_is_bounded_by_a_unit(tmp_path: Path) -> None:
    mebibyte = 1 << 20
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for index in range(100):
            info = tarfile.TarInfo(f"{index}.jpg")
            info.size = mebibyte
            tar.addfile(info, io.BytesIO(bytes([index + 1]) * mebibyte))
    source = WebDataset(uri=str(tmp_path), unit_bytes=8 * mebibyte)
    (shard,) = source.shards()
    tracemalloc.start()
    count = 0
    walk = source.units(shard, {})
    while (batch := next(walk, None)) is not None:
        count += len(batch.items)
        del batch
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == 100
    # A unit of 8 MiB, the store's read-ahead of 8 MiB while it is replaced by the next, and one member.
    assert peak < 28 * mebibyte


def test_listing(tmp_path: Path) -> None:
    for name in ("b/2.tar", "a.tar.gz", "a.tgz", ".hidden/x.tar", "b/.x.tar", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(tar_of(TWENTY[:1]))
    shards = WebDataset(uri=str(tmp_path)).shards()
    assert [s.path for s in shards] == ["a.tar.gz", "a.tgz", "b/2.tar"]
    assert shards[2].uri == f"{tmp_path}/b/2.tar"
    one = WebDataset(uri=f"{tmp_path}/b/2.tar").shards()
    assert [s.path for s in one] == ["2.tar"]
    assert pickle.loads(pickle.dumps(shards)) == shards


def test_a_uri_without_shards_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"source\.uri=.*\.tar"):
        WebDataset(uri=str(tmp_path)).shards()
    with pytest.raises(SourceError, match="does not exist"):
        WebDataset(uri=str(tmp_path / "gone")).shards()
    with pytest.raises(SourceError, match="does not exist"):
        WebDataset(uri=str(tmp_path / "gone.tar")).shards()


def test_probe_finds_an_image_or_refuses(tmp_path: Path) -> None:
    source, shard = write(tmp_path / "t", tar_of([("a.txt", b"1"), ("b.json", b"2")]))
    with pytest.raises(SourceError, match="no image in the first 1 shards"):
        source.probe([shard])
    source, broken = write(tmp_path / "b", b"not a tar")
    with pytest.raises(SourceError, match="tar_truncated"):
        source.probe([broken])
    source, good = write(tmp_path / "g", tar_of([("a.txt", b"1"), ("b.jpg", b"2")]))
    source.probe([shard, broken, good])


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("uri", "", "a path or URI such as s3://bucket/shards"),
        ("uri", " ", "a path or URI such as s3://bucket/shards"),
        ("uri", 3, "a path or URI such as s3://bucket/shards"),
        ("unit_images", 0, "a whole number of at least 1"),
        ("unit_images", True, "a whole number of at least 1"),
        ("unit_bytes", 1.5, "a whole number of at least 1"),
        ("max_image_bytes", -1, "a whole number of at least 1"),
        ("image_suffixes", [], "a list of at least 1, each a lower-case suffix such as .jpg"),
        ("image_suffixes", ".jpg", "a list of at least 1, each a lower-case suffix such as .jpg"),
        *(("image_suffixes", [wrong], "a lower-case suffix such as .jpg") for wrong in ("jpg", ".", ".JPG", ".a.b", 3)),
    ],
)
def test_wrong_values_name_their_key(key: str, value: object, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        made("source", WebDataset, **{"uri": "x", key: value})
    assert re.fullmatch(rf"source\.{key}(\[0\])?: expected .*{re.escape(expected)}, got .*", str(caught.value))


@pytest.mark.slow
def test_presets_list_their_suffixes_in_conf_alone() -> None:
    files, shards = preset("source", "files"), preset("source", "webdataset")
    assert files == Files(uri=GIVEN[0].partition("=")[2], image_suffixes=shards.image_suffixes)
    assert set(shards.image_suffixes) <= IMAGE_SUFFIXES
