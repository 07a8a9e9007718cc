from __future__ import annotations

import hashlib
import itertools
import json
import os
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.errors import ConfigError, SourceError
from pipeline.records import EncodedImage, Shard, UnitBatch, image_id
from pipeline.source.parquet import Parquet
from tests.fakes.specs import made
from tests.fakes.tar_samples import bare, encoded_size, image_bytes, images, rejects

TWENTY = [(f"{i:09d}", image_bytes(i)) for i in range(20)]
TABLE = pa.table({"image": [d for _, d in TWENTY], "caption": [f"no {i}" for i in range(20)], "n": range(20)})


def write(folder: Path, table: pa.Table, name: str = "a.parquet", rows: int = 7, **options: object) -> Parquet:
    folder.mkdir(exist_ok=True)
    pq.write_table(table, folder / name, row_group_size=rows, **options)
    return Parquet(uri=str(folder), unit_images=4)


def read(source: Parquet) -> list[UnitBatch[EncodedImage]]:
    return [b for shard in source.shards() for b in source.units(shard, {})]


def struct(rows: list[dict[str, object] | None]) -> pa.Array:
    return pa.array(rows, pa.struct({"bytes": pa.binary(), "path": pa.string()}))


def test_units_are_runs_within_row_groups(tmp_path: Path) -> None:
    batches = read(write(tmp_path, TABLE))
    assert images(batches) == TWENTY
    assert [(b.unit.start, b.unit.stop) for b in batches] == [(0, 4), (4, 7), (7, 11), (11, 14), (14, 18), (18, 20)]
    assert [b.unit.last for b in batches] == [False] * 5 + [True]
    first = batches[0].items[0]
    assert (first.ref.image_id, first.ref.key) == (image_id("a.parquet", "000000000"), "000000000")


def test_units_end_at_bytes_too(tmp_path: Path) -> None:
    source = replace(write(tmp_path, TABLE.select(["image"]), rows=100), unit_images=100, unit_bytes=2000)
    batches = read(source)
    assert images(batches) == TWENTY
    assert all(encoded_size(b.items[:-1]) < 2000 for b in batches)
    assert all(encoded_size(b.items) >= 2000 for b in batches[:-1])


def test_other_columns_travel_as_one_row(tmp_path: Path) -> None:
    nested = TABLE.append_column("boxes", pa.array([[{"x": i, "y": None}] for i in range(20)]))
    batches = read(write(tmp_path, nested))
    items = [i for b in batches for i in b.items if isinstance(i, EncodedImage)]
    rows = []
    for item in items:
        (sidecar,) = item.sidecars
        assert (sidecar.name, sidecar.kind) == ("columns", "columns")
        rows += pa.ipc.open_stream(sidecar.data).read_all().to_pylist()
    assert rows == nested.drop_columns(["image"]).to_pylist()


def test_the_struct_of_hugging_face_and_its_nulls(tmp_path: Path) -> None:
    (tmp_path / "secret.jpg").write_bytes(b"never opened")
    rows: list[dict[str, object] | None] = [
        {"bytes": b"one", "path": "a.jpg"},
        {"bytes": None, "path": str(tmp_path / "secret.jpg")},
        {"bytes": None, "path": None},
        None,
        {"bytes": b"five", "path": None},
    ]
    source = write(tmp_path / "p", pa.table({"image": struct(rows), "thumb": [b"x"] * 5}))
    batches = read(source)
    assert images(batches) == [("000000000", b"one"), ("000000004", b"five")]
    assert rejects(batches) == [
        ("000000001", "path_only"),
        ("000000002", "null_image"),
        ("000000003", "null_image"),
    ]


def test_large_images_are_rejected(tmp_path: Path) -> None:
    source = replace(write(tmp_path, pa.table({"image": [b"x", b"y" * 101]})), max_image_bytes=100)
    batches = read(source)
    assert (len(images(batches)), rejects(batches)) == (1, [("000000001", "too_many_bytes")])


def test_keys_from_a_column(tmp_path: Path) -> None:
    table = pa.table({"image": [b"x"] * 5, "id": ["d/a", None, "../b", "d/a", "c"]})
    source = replace(write(tmp_path, table), key_column="id", unit_images=10)
    (batch,) = read(source)
    assert [i.ref.key for i in batch.items] == ["d/a", "000000001", "000000002", "d/a", "c"]
    assert [r for _, r in rejects([batch])] == ["null_key", "unsafe_name", "duplicate_member"]
    numbers = replace(write(tmp_path / "n", TABLE), key_column="n")
    assert [i.ref.key for b in read(numbers) for i in b.items] == [str(i) for i in range(20)]


PAIR = [b"one", b"two"]
STRUCT = pa.struct({"bytes": pa.binary(), "path": pa.string()})


@pytest.mark.parametrize(
    "column",
    [
        pa.array(PAIR, pa.large_binary()),
        pa.array(PAIR, pa.binary_view()),
        pa.array(PAIR, pa.binary()).dictionary_encode(),
        pa.array([{"bytes": data, "more": 1} for data in PAIR]),
    ],
)
def test_every_type_of_an_image_cell_is_read(column: pa.Array, tmp_path: Path) -> None:
    assert [data for _, data in images(read(write(tmp_path, pa.table({"image": column}))))] == PAIR


def test_binary_of_a_fixed_size_is_an_image_unless_it_is_a_hash(tmp_path: Path) -> None:
    padded = [data.ljust(65, b"\0") for data in PAIR]
    table = pa.table({"sha512": pa.array([b"h" * 64] * 2, pa.binary(64)), "photo": pa.array(padded, pa.binary(65))})
    assert [data for _, data in images(read(write(tmp_path, table)))] == padded


LISTS = [
    pa.list_(STRUCT),
    pa.large_list(STRUCT),
    pa.list_view(STRUCT),
    pa.list_(pa.binary()),
    pa.list_(pa.dictionary(pa.int32(), pa.binary())),
]


@pytest.mark.parametrize("kind", LISTS, ids=str)
def test_each_image_of_a_list_is_one_of_its_own(kind: pa.DataType, tmp_path: Path) -> None:
    named = pa.types.is_struct(kind.value_type)
    cells: list[list[bytes | None] | None] = [[b"one", b"two"], [], [b"three", None], None, [b"four"]]
    rows: list[Any] = [cell and [{"bytes": d, "path": None} if named else d for d in cell] for cell in cells]
    table = pa.table({"images": pa.array(rows, kind), "page": range(5)})
    source = write(tmp_path, table)
    batches = read(source)
    found = [("000000000#0", b"one"), ("000000000#1", b"two"), ("000000002#0", b"three"), ("000000004#0", b"four")]
    assert images(batches) == found
    assert rejects(batches) == [("000000001", "null_image"), ("000000002#1", "null_image"), ("000000003", "null_image")]
    assert [(b.unit.start, b.unit.stop) for b in batches] == [(0, 3), (3, 5)]  # units end between rows
    pages = [pa.ipc.open_stream(i.sidecars[0].data).read_all()["page"][0].as_py() for b in batches for i in b.items
             if isinstance(i, EncodedImage)]  # fmt: skip
    assert pages == [0, 0, 2, 4]
    refs = [item.ref for batch in batches for item in batch.items]
    assert len({ref.image_id for ref in refs}) == len({ref.key for ref in refs}) == 7


def test_images_in_a_list_are_those_that_duckdb_counts(tmp_path: Path) -> None:
    rng = random.Random(4)
    cells = [[rng.randbytes(9) for _ in range(rng.randrange(6))] for _ in range(50)]
    source = write(tmp_path, pa.table({"images": pa.array(cells, pa.list_(pa.binary()))}), name="a.pq")
    with duckdb.connect() as db:
        counted = db.execute(
            "select octet_length(one), md5(one) from (select unnest(images) as one from read_parquet(?))",
            [str(tmp_path / "a.pq")],
        ).fetchall()
        rows = db.execute("select count(*) from read_parquet(?) where len(images) = 0", [str(tmp_path / "a.pq")])
        empty = rows.fetchall()[0][0]
    found = read(source)
    assert [(len(d), hashlib.md5(d).hexdigest()) for _, d in images(found)] == counted
    assert [reason for _, reason in rejects(found)] == ["null_image"] * empty
    assert empty


def test_a_key_of_a_list_counts_its_images(tmp_path: Path) -> None:
    table = pa.table({"images": [[b"1", b"2"], [b"3"], [b"4"]], "id": pa.array(["d/a", "b", "b"]).dictionary_encode()})
    source = replace(write(tmp_path, table), key_column="id")
    assert [i.ref.key for b in read(source) for i in b.items] == ["d/a#0", "d/a#1", "b#0", "b#0"]
    assert rejects(read(source)) == [("000000002#0", "duplicate_member")]


def carried(source: Parquet) -> list[pa.Table]:
    items = [item for batch in read(source) for item in batch.items if isinstance(item, EncodedImage)]
    return [pa.ipc.open_stream(item.sidecars[0].data).read_all() for item in items]


MAP = pa.map_(pa.string(), pa.int32())
PAIRS = pa.list_(pa.struct([("key", pa.string()), ("value", pa.int32())]))


@pytest.mark.parametrize(
    ("column", "kind", "value"),
    [
        (pa.array([[("k", 1)]], MAP), PAIRS, [{"key": "k", "value": 1}]),
        (pa.array([None], MAP), PAIRS, None),
        (pa.array([{"m": [("k", 1)]}], pa.struct([("m", MAP)])), pa.struct([("m", PAIRS)]),
         {"m": [{"key": "k", "value": 1}]}),
        (pa.array([[1, 2]], pa.list_view(pa.int8())), pa.list_(pa.int8()), [1, 2]),
        (pa.array([[[("k", 1)]]], pa.list_view(MAP)), pa.list_(PAIRS), [[{"key": "k", "value": 1}]]),
        (pa.array([bytes(16)], pa.uuid()), pa.binary(16), bytes(16)),
        (pa.array(["{}"], pa.json_()), pa.string(), "{}"),
        (pa.array([[1.0, 2.0]], pa.list_(pa.float32(), 2)), pa.list_(pa.float32(), 2), [1.0, 2.0]),
    ],
)  # fmt: skip
def test_columns_travel_in_types_that_hugging_face_datasets_reads(
    column: pa.Array, kind: pa.DataType, value: object, tmp_path: Path
) -> None:
    (row,) = carried(write(tmp_path, pa.table({"image": [b"x"], "c": column})))
    row.validate(full=True)
    assert row["c"].to_pylist() == [value]
    assert row["c"].type.equals(kind)


def test_a_row_of_categories_brings_its_own_value_only(tmp_path: Path) -> None:
    words = pa.array([f"{i:01000d}" for i in range(20)])
    kind = pa.dictionary(pa.int16(), pa.string())
    table = pa.table({"image": [b"x"] * 20, "word": words.dictionary_encode().cast(kind)})
    rows = carried(write(tmp_path, table, rows=20))
    assert [row["word"][0].as_py() for row in rows] == words.to_pylist()
    assert {row["word"].type for row in rows} == {kind}
    assert max(len(row["word"].chunk(0).dictionary) for row in rows) == 1


FEATURES = {
    "image": {"_type": "Image"},
    "label": {"names": ["cat", "dog"], "_type": "ClassLabel"},
    "objects": {"kind": {"names": ["a"], "_type": "ClassLabel"}},
    "n": {"dtype": "int64", "_type": "Value"},
    "gone": {"_type": "Audio"},
}


@pytest.mark.parametrize(
    ("metadata", "kept"),
    [
        (json.dumps({"info": {"features": FEATURES}}), {name: FEATURES[name] for name in ("label", "objects")}),
        (json.dumps({"info": {"features": {"image": {"_type": "Image"}}}}), None),
        (json.dumps({"info": []}), None),
        ("not JSON", None),
        ('{"info": {"features": [1, 2]}}', None),
    ],
)
def test_what_hugging_face_knows_of_the_other_columns_is_kept(metadata: str, kept: object, tmp_path: Path) -> None:
    table = pa.table({"image": [b"x"], "label": [1], "objects": [[{"kind": 0}]], "n": [3]})
    (row,) = carried(write(tmp_path, table.replace_schema_metadata({"huggingface": metadata, "pandas": "{}"})))
    found = row.schema.metadata and {key: json.loads(value) for key, value in row.schema.metadata.items()}
    assert found == (kept and {b"huggingface": {"info": {"features": kept}}})


@pytest.mark.parametrize("name", ["a.parq", "a.pq", "a.PARQUET"])
def test_all_suffixes_of_parquet(name: str, tmp_path: Path) -> None:
    assert images(read(write(tmp_path, TABLE, name=name))) == TWENTY


@pytest.mark.parametrize(
    ("table", "column"),
    [
        ({"jpg": [b"1"], "label": [3]}, "jpg"),
        ({"image": [b"1"], "mask": [b"2"]}, "image"),
        ({"data": struct([{"bytes": b"1", "path": ""}]), "image": [b"2"]}, "data"),
        ({"png": [b"2"], "img": [b"1"]}, "img"),
        ({"blob": pa.array([b"1"], pa.large_binary())}, "blob"),
        ({"thumb": [b"2"], "views": pa.array([[{"bytes": b"1", "path": ""}]], pa.list_(STRUCT))}, "views"),
        ({"photo": struct([{"bytes": b"1", "path": ""}]), "views": [[{"bytes": b"2"}]]}, "photo"),
        ({"masks": [[b"2"]], "images": [[b"1"]]}, "images"),
    ],
)
def test_the_image_column_is_found(table: dict[str, object], column: str, tmp_path: Path) -> None:
    source = write(tmp_path, pa.table(table))
    assert source.resolve(source.shards()).image_column == column
    assert [data for _, data in images(read(source))] == [b"1"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image_column": "img"}, r"no column 'img'.*image \(binary\), caption \(string\), n \(int64\)"),
        ({"image_column": "caption"}, "column 'caption' is string, expected binary"),
        ({"image_column": "n"}, "column 'n' is int64, expected binary, a struct of bytes and path, or a list of these"),
        ({"key_column": "idx"}, "no column 'idx'"),
        ({"key_column": "image"}, "column 'image' is binary, expected text"),
    ],
)
def test_missing_columns_are_refused(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    source = write(tmp_path, TABLE)
    with pytest.raises(SourceError, match=message) as caught:
        replace(source, **options).shards()
    assert "\n" not in str(caught.value)


def test_no_or_several_image_columns_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"no column holds images.*decode base64 text.*columns are: caption"):
        write(tmp_path / "a", TABLE.select(["caption"])).shards()
    with pytest.raises(SourceError, match="several columns may hold images: a, b"):
        write(tmp_path / "b", pa.table({"a": [b"1"], "b": [b"2"]})).shards()


def test_a_later_file_with_other_columns_is_a_failure(tmp_path: Path) -> None:
    write(tmp_path, TABLE)
    source = write(tmp_path, pa.table({"thumb": [b"1"]}), name="b.parquet")
    shards = source.shards()
    (batch,) = source.resolve(shards).units(shards[1], {})
    assert (batch.unit.failure, batch.unit.last) == ("parquet_schema", True)
    assert rejects([batch]) == [("b.parquet@0", "parquet_schema")]


def test_unreadable_files_are_failures_not_refusals(tmp_path: Path) -> None:
    source = write(tmp_path, TABLE, name="b.parquet")
    whole = (tmp_path / "b.parquet").read_bytes()
    for broken in (whole[:-100], whole[: len(whole) // 2], b"", b"no parquet", whole[:-8] + b"\xff\xff\xff\x7fPAR1"):
        (tmp_path / "a.parquet").write_bytes(broken)
        shards = source.shards()
        (batch,) = source.units(shards[0], {})
        assert (batch.unit.failure, batch.unit.start, batch.unit.stop) == ("parquet_unreadable", 0, 0)
        assert list(source.units(shards[0], {0: 0})) == []
        assert images(list(source.units(shards[1], {}))) == TWENTY
        source.probe(shards)


def test_a_corrupt_page_ends_the_file_after_the_rows_before_it(tmp_path: Path) -> None:
    noise = random.Random(3)
    rows = [noise.randbytes(5000) for _ in range(20)]
    options: dict[str, Any] = {"compression": "none", "use_dictionary": False, "write_page_checksum": True}
    source = write(tmp_path, pa.table({"image": rows}), **options)
    path = tmp_path / "a.parquet"
    data = bytearray(path.read_bytes())
    data[data.index(rows[16]) + 2000] ^= 1
    path.write_bytes(data)
    batches = read(source)
    assert [d for _, d in images(batches)] == rows[:14]
    assert [b.unit.failure for b in batches] == ["", "", "", "", "parquet_corrupt"]


def test_committed_units_do_not_change_the_others(tmp_path: Path) -> None:
    source = write(tmp_path, TABLE)
    (shard,) = source.shards()
    all_units = list(source.units(shard, {}))
    for chosen in itertools.product([False, True], repeat=len(all_units)):
        done = {b.unit.start: b.unit.stop for b, c in zip(all_units, chosen, strict=True) if c}
        left = [b for b, c in zip(all_units, chosen, strict=True) if not c]
        assert bare(list(source.units(shard, done))) == bare(left)


def big(folder: Path) -> tuple[Parquet, Shard]:
    """Ten row groups of 4 MB."""
    table = pa.table({"image": [os.urandom(200_000) for _ in range(200)]})
    source = replace(write(folder, table, rows=20, compression="none", use_dictionary=False), unit_images=20)
    (shard,) = source.shards()
    return source, shard


def test_a_resume_reads_only_its_row_group(tmp_path: Path) -> None:
    source, shard = big(tmp_path)
    done = {start: start + 20 for start in range(0, 200, 20) if start != 100}
    before = psutil.Process().io_counters().read_chars
    (batch,) = source.units(shard, done)
    assert (batch.unit.start, len(batch.items)) == (100, 20)
    assert psutil.Process().io_counters().read_chars - before < 12 << 20


def test_memory_is_bounded_by_a_row_group(tmp_path: Path) -> None:
    source, shard = big(tmp_path)
    peak = 0
    for batch in source.units(shard, {}):
        peak = max(peak, pa.total_allocated_bytes())
        del batch
    assert peak < 16 << 20


def test_a_replaced_file_is_a_failure(tmp_path: Path) -> None:
    source = write(tmp_path, TABLE)
    (shard,) = source.shards()
    write(tmp_path, TABLE.slice(3))
    assert [b.unit.failure for b in source.units(shard, {0: 4})] == ["source_changed"]
    (tmp_path / "other").write_bytes(b"")  # an empty folder may be a mount that was lost
    (tmp_path / "a.parquet").unlink()
    assert [b.unit.failure for b in source.units(shard, {})] == ["source_changed"]


def test_a_file_replaced_while_it_is_read_is_a_failure(tmp_path: Path) -> None:
    source, shard = big(tmp_path)
    walk = source.units(shard, {})
    next(walk)
    (tmp_path / "a.parquet").write_bytes(b"something else")
    *_, last = walk
    assert last.unit.failure == "source_changed"


def test_empty_files(tmp_path: Path) -> None:
    source = write(tmp_path, TABLE.slice(0, 0))
    shards = source.shards()
    (batch,) = source.units(shards[0], {})
    assert (batch.items, batch.unit.last, batch.unit.failure) == ((), True, "")
    assert list(source.units(shards[0], {0: 0})) == []
    with pytest.raises(SourceError, match="no row"):
        source.probe(shards)
    (tmp_path / "e").mkdir()
    with pytest.raises(SourceError, match=r"\.parquet"):
        Parquet(uri=str(tmp_path / "e")).shards()


@pytest.mark.parametrize("wrong", [{"image_column": ""}, {"image_column": 3}, {"key_column": None}])
def test_wrong_values_name_their_key(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=rf"source\.{next(iter(wrong))}: expected .*text, got"):
        made("source", Parquet, **{"uri": "x", **wrong})
