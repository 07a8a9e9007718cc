from __future__ import annotations

import bz2
import io
import itertools
import lzma
import pickle
import re
import tarfile
import tempfile
import tracemalloc
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import ConfigError, SourceError
from pipeline.image.kinds import IMAGE_SUFFIXES
from pipeline.records import EncodedImage, Rejected, Shard, Sidecar, UnitBatch, image_id, unit_id
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
    zstd,
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
    source, shard = write(tmp_path, data)
    (batch,) = replace(source, sidecar_members=("seg.png",)).units(shard, {})
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


def sidecars(batches: Sequence[UnitBatch[EncodedImage]]) -> dict[str, dict[str, bytes]]:
    """Member of each image -> its sidecars."""
    items = [item for batch in batches for item in batch.items if isinstance(item, EncodedImage)]
    return {item.ref.member: {s.name: s.data for s in item.sidecars} for item in items}


def keys(batches: Sequence[UnitBatch[EncodedImage]]) -> dict[str, str]:
    return {item.ref.member: item.ref.key for batch in batches for item in batch.items}


def test_each_image_of_a_sample_is_a_row_and_texts_travel_with_each(tmp_path: Path) -> None:
    data = tar_of(
        [
            ("1.left.jpg", b"left"),
            ("1.json", b"{}"),
            ("1.right.jpg", b"right"),
            ("1.left.txt", b"of the left"),
            ("2.jpg", b"jpg"),
            ("2.png", b"png"),
            ("3.seg.png", b"only"),
        ]
    )
    batches = read(tmp_path, data)
    assert images(batches) == [
        *(("1.left.jpg", b"left"), ("1.right.jpg", b"right")),
        *(("2.jpg", b"jpg"), ("2.png", b"png"), ("3.seg.png", b"only")),
    ]
    assert sidecars(batches)["1.left.jpg"] == {"json": b"{}", "left.txt": b"of the left"}
    assert sidecars(batches)["1.right.jpg"] == {"json": b"{}"}
    assert list(keys(batches).values()) == ["1.left", "1.right", "2", "2.png", "3.seg"]
    units = [batch.unit for batch in batches]
    assert [(unit.samples, unit.several) for unit in units] == [(2, 2), (1, 0)]
    assert units[0].fields == {"jpg": 1, "left.jpg": 1, "png": 1, "right.jpg": 1}


def test_names_with_dots_are_images_each_with_its_own_text(tmp_path: Path) -> None:
    stems = ["v1.0.cat", "v1.0.dog", "frame_0.25", "frame_0.50"]
    data = tar_of([(f"{s}.{field}", f"{field} of {s}".encode()) for field in ("jpg", "txt") for s in stems])
    source, shard = write(tmp_path, data)
    (batch,) = replace(source, unit_images=10).units(shard, {})
    # The texts stand apart from their images for frame_0 and v1: runs of their own.
    assert rejects([batch]) == [("v1.0.cat.txt", "no_image_member"), ("frame_0.25.txt", "no_image_member")]
    batches = read(tmp_path, tar_of([(f"{s}.{f}", f"{f} of {s}".encode()) for s in stems for f in ("jpg", "txt")]))
    assert [data for _, data in images(batches)] == [f"jpg of {stem}".encode() for stem in stems]
    assert [list(found.values()) for found in sidecars(batches).values()] == [[f"txt of {s}".encode()] for s in stems]
    assert list(keys(batches).values()) == stems


def test_fields_that_are_named_are_sidecars_and_never_looked_at(tmp_path: Path) -> None:
    data = tar_of(
        [("1.rgb.png", b"rgb"), ("1.DEPTH.png", b"depth"), ("1.x.seg.png", b"seg"), ("2.depth.png", b"alone")]
    )
    source, shard = write(tmp_path, data)
    batches = list(replace(source, sidecar_members=("depth.png", "seg.png")).units(shard, {}))
    assert images(batches) == [("1.rgb.png", b"rgb")]
    assert sidecars(batches) == {"1.rgb.png": {"DEPTH.png": b"depth", "x.seg.png": b"seg"}}
    assert rejects(batches) == [("2.depth.png", "no_image_member")]
    batches = list(replace(source, image_members=("depth.png",)).units(shard, {}))
    assert images(batches) == [("1.DEPTH.png", b"depth"), ("2.depth.png", b"alone")]
    assert sidecars(batches)["1.DEPTH.png"] == {"rgb.png": b"rgb", "x.seg.png": b"seg"}


def test_an_image_is_told_by_its_bytes_too_and_one_that_cannot_be_read_is_a_row(tmp_path: Path) -> None:
    png, jpeg = b"\x89PNG\r\n\x1a\n\0", b"\xff\xd8\xff\xe0\0"
    data = tar_of(
        [
            *(("1.png", b"1"), ("1.dng", b"II*\0raw"), ("1.raw", b"8BPS\0\1"), ("1.cls", b"BM and a CR in a text")),
            *(("2.jpg_large", jpeg), ("README", png), (".jpg", jpeg), ("3.jpg", b"text")),
        ]
    )
    source, shard = write(tmp_path, data)
    batches = list(replace(source, unit_images=10).units(shard, {}))
    assert [name for name, _ in images(batches)] == ["1.png", "2.jpg_large", "README", ".jpg", "3.jpg"]
    assert sidecars(batches)["1.png"] == {"cls": b"BM and a CR in a text"}
    assert rejects(batches) == [("1.dng", "format_not_allowed"), ("1.raw", "format_not_allowed")]
    details = [item.detail for batch in batches for item in batch.items if isinstance(item, Rejected)]
    assert details[1] == "PSD is not read: convert it, or carry it by source.sidecar_members=[raw]"


def test_what_systems_add_is_passed_over_unless_it_is_an_image(tmp_path: Path) -> None:
    double, jpeg = b"\0\x05\x16\x07" + bytes(40), b"\xff\xd8\xff\xe0\0"
    data = tar_of(
        [
            *(("./._a.jpg", double), ("./a.jpg", b"1"), ("./._a.txt", double), ("./a.txt", b"text")),
            *(("p/.DS_Store", b"\0\0\0\1Bud1"), ("__MACOSX/p/._b.jpg", double), ("p/Thumbs.db", b"\xd0\xcf")),
            *(("p/desktop.ini", b"[x]"), ("p/._b.jpg", jpeg), ("p/c.jpg", b"3"), ("._last.jpg", double)),
        ]
    )
    batches = read(tmp_path, data)
    assert images(batches) == [("a.jpg", b"1"), ("p/._b.jpg", jpeg), ("p/c.jpg", b"3")]
    assert sidecars(batches)["a.jpg"] == {"txt": b"text"}
    assert rejects(batches) == []


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
            ("..hidden.jpg", b"f"),
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
    assert images(batches) == [("good.jpg", b"g"), ("..hidden.jpg", b"f")]
    assert {i.stage for b in batches for i in b.items if not isinstance(i, EncodedImage)} == {"read"}


def test_names_are_normalised(tmp_path: Path) -> None:
    assert images(read(tmp_path, tar_of([("./a//b.jpg", b"1")]))) == [("a/b.jpg", b"1")]


def test_duplicates(tmp_path: Path) -> None:
    members = [("a.jpg", b"1"), ("a.jpg", b"2"), ("b.jpg", b"3"), ("a.txt", b"late"), ("b.jpg", b"4")]
    source, shard = write(tmp_path, tar_of(members))
    (batch,) = replace(source, unit_images=10).units(shard, {})
    assert images([batch]) == [("a.jpg", b"1"), ("b.jpg", b"3")]
    assert rejects([batch]) == [
        *(("a.jpg", "duplicate_member"), ("a.txt", "no_image_member"), ("b.jpg", "duplicate_member")),
    ]
    assert len({item.ref.image_id for item in batch.items}) == len({item.ref.key for item in batch.items}) == 5


def test_a_key_that_comes_again_loses_no_image_and_its_texts_travel_with_their_run(tmp_path: Path) -> None:
    members = [("a.jpg", b"1"), ("a.txt", b"first"), ("b.jpg", b"2"), ("a.png", b"3"), ("a.txt", b"second")]
    batches = read(tmp_path, tar_of(members))
    assert images(batches) == [("a.jpg", b"1"), ("b.jpg", b"2"), ("a.png", b"3")]
    assert sidecars(batches)["a.jpg"] == {"txt": b"first"}
    ((name, text),) = sidecars(batches)["a.png"].items()
    assert re.fullmatch(r"[0-9a-f]{8}\.txt", name)  # as files, both would be a.txt
    assert text == b"second"
    assert keys(batches) == {"a.jpg": "a", "b.jpg": "b", "a.png": "a.png"}


def resumed(source: WebDataset, shard: Shard, whole: list[UnitBatch[EncodedImage]]) -> None:
    """Check that whatever units are committed, the others come out the same."""
    for chosen in range(1 << len(whole)):
        committed = [batch for i, batch in enumerate(whole) if chosen >> i & 1]
        rows = {b.unit.start: [(item.ref.key, item.ref.member) for item in b.items] for b in committed}
        met = tuple((start, hashes.packed(found)) for start, found in rows.items())
        done = {b.unit.start: b.unit.stop for b in committed}
        rest = list(source.units(replace(shard, keys=met), done))
        assert bare(rest) == bare([b for b in whole if b not in committed])


def test_what_comes_again_in_a_later_unit_is_found_whatever_is_committed(tmp_path: Path) -> None:
    names = ["a.jpg", "b.jpg", "c.jpg", "d.jpg", "a.png", "e.jpg", "b.jpg", "f.jpg", "a.jpg", "c.x.jpg", "c.x.png"]
    source, shard = write(tmp_path, tar_of([(name, bytes([i])) for i, name in enumerate(names)]))
    source = replace(source, unit_images=2)
    whole = list(source.units(shard, {}))
    assert [name for name, _ in images(whole)] == [n for i, n in enumerate(names) if i not in (6, 8)]
    assert rejects(whole) == [("b.jpg", "duplicate_member"), ("a.jpg", "duplicate_member")]
    items = [item for batch in whole for item in batch.items]
    assert len({item.ref.image_id for item in items}) == len({item.ref.key for item in items}) == len(names)
    assert len(whole) > 4
    resumed(source, shard, whole)


PICTURES = (b"\xff\xd8\xff\xe0\0", b"\x89PNG\r\n\x1a\n\0")
DOUBLE = b"\0\x05\x16\x07\0\x02\0\0Mac OS X"
STEMS = ["a", "A", "v1.0.cat", "v1.0.dog", "frame_0.25", "é", "e\u0301", ".h", "._a", "日本", "x y", "Thumbs"]
ANY_NAME = st.builds(
    "{}{}{}{}".format,
    st.sampled_from(["", "d/", "D/", "./d.e/", "__MACOSX/", "ü/"]),
    st.sampled_from(STEMS),
    st.sampled_from(["", ".left", ".0", ".seg", "."]),
    st.sampled_from([".jpg", ".JPG", ".png", ".tiff", ".txt", ".json", ".npy", ".jpg_large", ".dng", ".db", ""]),
)
ANY_MEMBER = st.tuples(ANY_NAME, st.sampled_from([*PICTURES, b"text", b"BM in a text", DOUBLE, b"\x93NUMPY\1\0"]))


def listed(data: bytes, *, images_only: bool = True) -> list[tuple[str, bytes]]:
    """The images of a tar as Python's own module lists it, by suffix or by bytes, in order; or all members."""
    found = []
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        for info in tar:
            content = tar.extractfile(info).read()  # type: ignore[union-attr]
            name = "/".join(part for part in info.name.split("/") if part != ".")
            base = name.rpartition("/")[2].lower()
            suffixed = re.search(r"[^.].*\.(jpg|png|tiff|dng)$", base)
            system = base.startswith("._") or "__MACOSX/" in name or base == "thumbs.db"
            if not images_only or content.startswith(PICTURES) or (suffixed and not system):
                found.append((name, content))
    return found


@settings(max_examples=200, deadline=None)
@given(st.lists(ANY_MEMBER, min_size=1, max_size=14), st.integers(1, 5))
def test_the_images_are_those_that_tar_itself_lists(members: list[tuple[str, bytes]], unit_images: int) -> None:
    """Any names: dots, capitals, other scripts, folders, the same name again. None is lost, and none is a sidecar."""
    data = tar_of(members, tarfile.PAX_FORMAT)
    expected = listed(data)
    with tempfile.TemporaryDirectory() as folder:
        source, shard = write(Path(folder), data)
        source = replace(source, unit_images=unit_images)
        batches = list(source.units(shard, {}))
        items = [item for batch in batches for item in batch.items]
        # Each is a row: itself, or why it is not read. A text of the same name may be another one.
        why = ("duplicate_member", "format_not_allowed")
        rows = Counter(i.ref.member for i in items if isinstance(i, EncodedImage) or i.reason in why)
        names = Counter(name for name, _ in expected)
        texts = Counter(name for name, _ in listed(data, images_only=False)) - names
        assert all(names[name] <= rows[name] <= names[name] + texts[name] for name in names)
        # What else is a row is no image, and says so.
        other = {i.reason for i in items if isinstance(i, Rejected) and i.ref.member not in names}
        assert other <= {"no_image_member", "duplicate_member"}
        whole = images(batches)
        assert len({name for name, _ in whole}) == len(whole)
        assert set(whole) <= set(expected)
        carried = [s for item in items if isinstance(item, EncodedImage) for s in item.sidecars]
        assert not any(sidecar.data.startswith(PICTURES) for sidecar in carried)
        assert len({item.ref.key for item in items}) == len({item.ref.image_id for item in items}) == len(items)
        assert [b.unit.failure for b in batches if b.unit.failure] == []
        met = [(b.unit.start, hashes.packed((i.ref.key, i.ref.member) for i in b.items)) for b in batches[::2]]
        done = {b.unit.start: b.unit.stop for b in batches[::2]}
        assert bare(list(source.units(replace(shard, keys=tuple(met)), done))) == bare(batches[1::2])


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


def test_a_rejected_image_does_not_make_its_mask_the_image_where_that_is_named(tmp_path: Path) -> None:
    source, shard = write(tmp_path, tar_of([("a.jpg", b"x" * 200), ("a.mask.png", b"m")]))
    source = replace(source, max_image_bytes=100)
    assert images(list(source.units(shard, {}))) == [("a.mask.png", b"m")]
    batches = list(replace(source, sidecar_members=("mask.png",)).units(shard, {}))
    assert images(batches) == []
    assert rejects(batches) == [("a.jpg", "too_many_bytes")]


def test_thousands_of_members_of_one_key_are_runs_of_a_thousand(tmp_path: Path) -> None:
    names = [f"img.{i:05d}.{suffix}" for i in range(1200) for suffix in ("jpg", "txt")]
    source, shard = write(tmp_path, tar_of([(name, name.encode()) for name in names]))
    batches = list(source.units(shard, {}))
    assert images(batches) == [(name, name.encode()) for name in names if name.endswith("jpg")]
    assert [len(batch.items) for batch in batches] == [500, 500, 200]
    assert rejects(batches) == []
    assert all(list(s.values()) == [m.replace("jpg", "txt").encode()] for m, s in sidecars(batches).items())
    resumed(source, shard, batches)


def test_images_of_one_key_that_are_too_much_for_one_run_are_all_read(tmp_path: Path) -> None:
    members = [("a.txt", b"t" * 30), *((f"a.{i}.jpg", b"x" * 60) for i in range(3)), ("a.json", b"j" * 30)]
    source, shard = write(tmp_path, tar_of(members))
    batches = list(replace(source, max_image_bytes=100).units(shard, {}))
    assert images(batches) == members[1:4]
    assert rejects(batches) == []
    assert [list(found.values()) for found in sidecars(batches).values()] == [[b"t" * 30], [], [b"j" * 30]]


def test_a_sidecar_of_many_images_is_rejected_when_its_copies_are_too_large(tmp_path: Path) -> None:
    members = [(f"a.{i}.jpg", b"x") for i in range(10)] + [("a.bin", b"\0" * 50), ("a.txt", b"text")]
    source, shard = write(tmp_path, tar_of(members))
    (batch,) = replace(source, max_image_bytes=100).units(shard, {})
    assert len(images([batch])) == 10
    assert rejects([batch]) == [("a.bin", "too_many_bytes")]
    assert all(found == {"txt": b"text"} for found in sidecars([batch]).values())


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


@pytest.mark.parametrize(("pack", "name"), [(bz2.compress, "a.tar.bz2"), (lzma.compress, "a.txz"), (zstd, "a.tar.zst")])
def test_other_packings_and_other_names(pack: Callable[[bytes], bytes], name: str, tmp_path: Path) -> None:
    data = pack(tar_of(TWENTY))
    for as_name in (name, "b.tar"):
        source, shard = write(tmp_path / as_name, data, as_name)
        batches = list(source.units(shard, {}))
        assert images(batches) == TWENTY
        resumed(source, shard, batches)
    cut = read(tmp_path / "cut", data[: len(data) // 2], name)
    assert cut[-1].unit.failure.endswith("_truncated")
    assert images(cut) == TWENTY[: len(images(cut))]


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
        ("image_suffixes", ".jpg", "a list, each a lower-case suffix such as .jpg"),
        *(
            ("sidecar_members", [wrong], "a field without its first dot: seg.png")
            for wrong in (".seg.png", "a/b", "", 3)
        ),
        ("image_members", "jpg", "a list, each a field without its first dot: seg.png"),
        *(("image_suffixes", [wrong], "a lower-case suffix such as .jpg") for wrong in ("jpg", ".", ".JPG", ".a.b", 3)),
    ],
)
def test_wrong_values_name_their_key(key: str, value: object, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        made("source", WebDataset, **{"uri": "x", key: value})
    assert re.fullmatch(rf"source\.{key}(\[0\])?: expected .*{re.escape(expected)}, got .*", str(caught.value))


@pytest.mark.slow
def test_presets_leave_the_suffixes_to_the_list_of_kinds() -> None:
    uri = GIVEN[0].partition("=")[2]
    assert preset("source", "files") == Files(uri=uri)
    assert preset("source", "webdataset") == WebDataset(uri=uri)
    assert set(WebDataset(uri=uri).suffixes) == IMAGE_SUFFIXES
