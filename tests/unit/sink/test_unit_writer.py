"""A unit's output as a whole: one index row an image, whatever became of it, and the same bytes on every run."""

import hashlib
import io
import pickle
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.build import groups
from pipeline.errors import ConfigError
from pipeline.image import rle
from pipeline.records import (
    Counts,
    ImageRef,
    Preview,
    Region,
    Rejected,
    Rendered,
    RenderedFile,
    Segment,
    Segments,
    Sidecar,
    Status,
    Unit,
)
from pipeline.sink.rendered import PUBLISH
from pipeline.sink.tables import IMAGES, MASKS
from pipeline.sink.unit_writer import Facts, Sink, UnitFiles, build_unit, image_uri
from tests.fakes.specs import made, preset

UNIT = Unit(unit_id="a-0", shard="a.tar", uri="s3://b/a.tar", etag="", start=0, stop=9, last=True)
FACTS = Facts(source="s3://b", models=("centerface", "pp-ocr"), fill="blur", reversible=True)
MASK = np.zeros((4, 5), bool)
MASK[1:3, 1:4] = True
RLE = rle.encode(MASK)


def ref(number: int) -> ImageRef:
    return ImageRef(image_id=f"{number:032x}", key=f"k{number}", member=f"k{number}.jpg", sha256=f"{number:064x}")


def segments(number: int, *labels: str) -> Segments:
    found = tuple(
        Segment(label=label, class_id=0, score=0.5, rle=RLE, box=(1.0, 1.0, 3.0, 2.0), area=6, model="m")
        for label in labels
    )
    return Segments(image_id=ref(number).image_id, height=4, width=5, segments=found)


def image(number: int, *labels: str, status: Status = "written", previews: tuple[Preview, ...] = ()) -> Rendered:
    region = Region(
        image_id=ref(number).image_id,
        height=4,
        width=5,
        rle=RLE if labels else rle.empty(4, 5),
        area=6 if labels else 0,
        chosen=tuple(range(len(labels))),
    )
    return Rendered(
        ref=ref(number),
        status=status,
        segments=segments(number, *labels),
        region=region,
        seed=100 + number,
        files=(
            RenderedFile(kind="overlay", suffix=".jpg", data=b"overlay %d" % number),
            RenderedFile(kind="filled", suffix=".jpg", data=b"image %d" % number),
        ),
        sidecars=(),
        previews=previews,
        seam=1.25 if labels else 0.0,
    )


PREVIEW = Preview(image_id=ref(1).image_id, before=b"before", mask=b"mask", after=b"after")
ITEMS = (
    image(1, "face", "text", "face", previews=(PREVIEW,)),
    Rejected(
        ref=ref(2), stage="decode", reason="truncated", detail="cut at byte 7", width=4, height=5, preview=b"small"
    ),
    image(3, status="unchanged"),
    Rejected(ref=ref(4), stage="decode", reason="truncated", detail="cut"),
    Rejected(ref=ref(5), stage="select", reason="too_much_region", detail="98 % of the image"),
)


def tables(files: UnitFiles) -> dict[str, pa.Table]:
    return {
        f.path.split("/")[0]: pq.read_table(io.BytesIO(f.data))
        for f in files.files
        if not f.path.startswith("rendered/")
    }


@pytest.fixture(params=["tar", "files", "parquet", "none"])
def sink(request: pytest.FixtureRequest) -> Sink:
    return Sink(uri="s3://b/out", images=request.param)


def test_every_image_has_a_row_and_counts_are_conserved(sink: Sink) -> None:
    built = build_unit(sink, UNIT, FACTS, ITEMS)
    index = tables(built)["images"]
    assert index.schema.equals(IMAGES)
    assert index.column("image_id").to_pylist() == [item.ref.image_id for item in ITEMS]
    assert index.column("status").to_pylist() == ["written", "rejected", "unchanged", "rejected", "rejected"]
    assert built.counts == Counts(images=5, written=1, unchanged=1, rejected=3)
    assert built.rejects == (("decode", "truncated", 2), ("select", "too_much_region", 1))
    assert built.segments == (("face", 2), ("text", 1))
    assert all(column.null_count == 0 for column in index.columns)


def path_of(built: UnitFiles, kind: str) -> str:
    return next(f.path for f in built.files if f.path.startswith(f"rendered/{kind}/"))


def test_the_row_of_a_filled_image() -> None:
    built = build_unit(Sink(uri="out"), UNIT, FACTS, ITEMS)
    assert tables(built)["images"].to_pylist()[0] == {
        "image_id": ref(1).image_id,
        "key": "k1",
        "member": "k1.jpg",
        "image_uri": "s3://b/a.tar#k1.jpg",
        "source": "s3://b",
        "shard": "a.tar",
        "unit": "a-0",
        "status": "written",
        "stage": "",
        "reason": "",
        "detail": "",
        "width": 5,
        "height": 4,
        "n_segments": 3,
        "filled_share": 0.3,
        "seam": 1.25,
        "input_sha256": ref(1).sha256,
        "output_sha256": hashlib.sha256(b"image 1").hexdigest(),
        "output": path_of(built, "filled"),
        "output_member": "k1.jpg",
        "outputs": [
            {"kind": kind, "path": path_of(built, kind), "member": "k1.jpg", "sha256": hashlib.sha256(data).hexdigest()}
            for kind, data in (("overlay", b"overlay 1"), ("filled", b"image 1"))
        ],
        "sidecars": [],
        "models": ["centerface", "pp-ocr"],
        "fill": "blur",
        "reversible": True,
        "seed": 101,
    }


def test_the_rows_of_a_rejected_and_of_an_unchanged_image() -> None:
    _, rejected, unchanged, *_ = tables(build_unit(Sink(uri="out"), UNIT, FACTS, ITEMS))["images"].to_pylist()
    assert (rejected["stage"], rejected["reason"], rejected["detail"]) == ("decode", "truncated", "cut at byte 7")
    assert (rejected["width"], rejected["height"]) == (4, 5)
    assert rejected["output"] == rejected["output_sha256"] == rejected["output_member"] == ""
    assert rejected["outputs"] == rejected["sidecars"] == []
    assert (unchanged["fill"], unchanged["reversible"], unchanged["filled_share"]) == ("", False, 0.0)
    assert rejected["seam"] == unchanged["seam"] == 0.0
    assert unchanged["output_sha256"] == hashlib.sha256(b"image 3").hexdigest()


def test_a_flow_that_fills_nothing_says_so() -> None:
    facts = Facts(source="s3://b", models=(), fill="", reversible=False)
    row = tables(build_unit(Sink(uri="out"), UNIT, facts, ITEMS))["images"].to_pylist()[0]
    assert (row["fill"], row["filled_share"], row["n_segments"]) == ("", 0.0, 3)


def test_output_names_what_was_published(sink: Sink) -> None:
    built = build_unit(sink, UNIT, FACTS, ITEMS)
    paths = {file.path for file in (*built.files, *built.loose)}
    rows = tables(built)["images"].to_pylist()
    named = {row["output"] for row in rows if row["output"]}
    assert named <= paths
    assert bool(named) == (sink.images != "none")
    assert [bool(row["output"]) for row in rows] == [bool(row["output_sha256"]) for row in rows]


def test_outputs_name_every_published_file_with_its_bytes(sink: Sink, tmp_path: Path) -> None:
    built = build_unit(sink, UNIT, FACTS, ITEMS)
    objects = {file.path: file.data for file in (*built.files, *built.loose)}

    def published(path: str, member: str) -> bytes:
        if sink.images == "tar":
            with tarfile.open(fileobj=io.BytesIO(objects[path])) as archive:
                return archive.extractfile(member).read()  # type: ignore[union-attr]
        if sink.images == "parquet":
            (row,) = pq.read_table(io.BytesIO(objects[path]), filters=[("key", "==", member)]).to_pylist()
            return bytes(row["image"]["bytes"])
        assert member == ""
        return objects[path]

    for row, item in zip(tables(built)["images"].to_pylist(), ITEMS, strict=True):
        made = {f.kind: f.data for f in item.files} if isinstance(item, Rendered) and sink.images != "none" else {}
        assert {o["kind"]: published(o["path"], o["member"]) for o in row["outputs"]} == made
        assert {o["sha256"] for o in row["outputs"]} == {hashlib.sha256(data).hexdigest() for data in made.values()}


SIDECARS = (Sidecar(name="txt", data=b"a cat"), Sidecar(name="seg.png", data=b"png"))


@pytest.mark.parametrize(
    ("images", "named"),
    [
        ("tar", ["k1.txt", "k1.seg.png"]),
        ("files", ["rendered/filled/a.tar/k1.txt", "rendered/filled/a.tar/k1.seg.png"]),
        ("parquet", ["txt", "seg.png"]),
        ("none", []),
    ],
)
def test_sidecars_are_named_where_they_were_published(images: str, named: list[str]) -> None:
    items = (replace(ITEMS[0], sidecars=SIDECARS), *ITEMS[1:])
    built = build_unit(Sink(uri="out", images=images), UNIT, FACTS, items)  # type: ignore[arg-type]
    assert [row["sidecars"] for row in tables(built)["images"].to_pylist()] == [named, [], [], [], []]


def test_a_sidecar_of_two_images_is_written_once_and_named_by_both() -> None:
    shared = Sidecar(name="json", data=b"{}")
    left, right = (
        replace(image(number), ref=replace(ref(number), key=f"k.{side}", member=f"k.{side}.jpg"), sidecars=(shared,))
        for number, side in ((1, "left"), (2, "right"))
    )
    for images, name in (("tar", "k.json"), ("files", "rendered/filled/a.tar/k.json")):
        built = build_unit(Sink(uri="out", images=images), UNIT, FACTS, (left, right))  # type: ignore[arg-type]
        assert [row["sidecars"] for row in tables(built)["images"].to_pylist()] == [[name], [name]]
        assert [file.path for file in built.loose].count(name) == (images == "files")
        for file in (*built.files, *built.staged):
            if file.path.endswith(".tar"):
                with tarfile.open(fileobj=io.BytesIO(file.data)) as archive:
                    assert archive.getnames().count(name) == ("overlay" not in file.path)


@pytest.mark.parametrize(
    ("shard", "uri", "member", "expected"),
    [
        ("d/a.tar", "s3://b/d/a.tar", "x/y.left.jpg", "s3://b/d/a.tar#x/y.left.jpg"),
        ("a.tar.gz", "/in/a.tar.gz", "é#1.jpg", "/in/a.tar.gz#é#1.jpg"),
        ("a.tar", "/in/a.tar", "a.tar@512", "/in/a.tar"),
        ("a.parquet", "/in/a.parquet", "000000012", "/in/a.parquet#row=12"),
        ("a.PQ", "/in/a.PQ", "000000012#3", "/in/a.PQ#row=12&item=3"),
        ("a.parq", "/in/a.parq", "a.parq@0", "/in/a.parq"),
        ("files-000000", "/in/photos", "2019/a (1).jpg", "/in/photos/2019/a (1).jpg"),
        ("files-000000", "/", "a.jpg", "/a.jpg"),
    ],
)
def test_an_image_has_an_absolute_place(shard: str, uri: str, member: str, expected: str) -> None:
    assert image_uri(replace(UNIT, shard=shard, uri=uri), member) == expected


def test_names_tell_the_content_and_the_same_items_give_the_same_output(sink: Sink) -> None:
    built = build_unit(sink, UNIT, FACTS, ITEMS)
    for file in (*built.files, *built.staged):
        digest = hashlib.sha256(file.data).hexdigest()
        assert file.sha256 == digest
        assert file.path.split("/")[-1].split(".")[0] == f"a-0-{digest[:12]}"
    assert build_unit(sink, UNIT, FACTS, tuple(ITEMS)) == built


def test_adding_in_parts_changes_nothing(sink: Sink) -> None:
    writer = sink.writer(UNIT, FACTS)
    writer.add(ITEMS[:2])
    writer.add(())
    writer.add(ITEMS[2:])
    assert writer.finish() == build_unit(sink, UNIT, FACTS, ITEMS)


def test_masks_leave_rejected_images_out() -> None:
    table = tables(build_unit(Sink(uri="out"), UNIT, FACTS, ITEMS))["masks"]
    assert table.column("image_id").to_pylist() == [ref(1).image_id] * 3


def test_previews_only_when_there_are_some() -> None:
    built = build_unit(Sink(uri="out"), UNIT, FACTS, ITEMS)
    assert tables(built)["_previews"].to_pylist() == [
        {"image_id": ref(1).image_id, "key": "k1", "before": b"before", "mask": b"mask", "after": b"after"},
        {"image_id": ref(2).image_id, "key": "k2", "before": b"small", "mask": b"", "after": b""},
    ]
    assert set(tables(build_unit(Sink(uri="out"), UNIT, FACTS, ITEMS[2:4]))) == {"masks", "images"}


def test_previews_of_filled_images_are_kept_first() -> None:
    def shown(number: int, *labels: str) -> Rendered:
        return image(number, *labels, previews=(replace(PREVIEW, image_id=ref(number).image_id),))

    items = (shown(1), shown(3, "face"), ITEMS[1], shown(4), shown(5, "face"), shown(6))
    for most, keys in ((0, ["k2"]), (1, ["k3", "k2"]), (3, ["k1", "k3", "k2", "k5"])):  # k2 is a rejected image
        built = build_unit(Sink(uri="out", previews=most), UNIT, FACTS, items)
        assert tables(built)["_previews"].column("key").to_pylist() == keys


def test_a_unit_without_segments_or_images_still_publishes_its_tables() -> None:
    built = build_unit(Sink(uri="out"), UNIT, FACTS, ITEMS[3:])
    assert tables(built)["masks"].schema.equals(MASKS)
    assert {f.path.split("/")[0] for f in built.files} == {"masks", "images"}
    assert build_unit(Sink(uri="out"), UNIT, FACTS, ()).counts == Counts()


def test_duckdb_joins_index_and_masks_by_a_plain_glob(tmp_path: Path) -> None:
    for unit, items in (("a-0", ITEMS[:2]), ("a-1", ITEMS[2:])):
        named = Unit(unit_id=unit, shard="a.tar", uri="", etag="", start=0, stop=1, last=True)
        for file in build_unit(Sink(uri="out"), named, FACTS, items).files:
            (tmp_path / file.path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / file.path).write_bytes(file.data)
    with duckdb.connect() as db:
        query = f"""select i.key, count(m.label) from '{tmp_path}/images/*.parquet' i
            left join '{tmp_path}/masks/*.parquet' m using (image_id) group by 1 order by 1"""
        assert db.execute(query).fetchall() == [("k1", 3), ("k2", 0), ("k3", 0), ("k4", 0), ("k5", 0)]


def test_a_name_that_is_not_utf8_reaches_every_table(sink: Sink) -> None:
    odd = ImageRef(image_id=ref(9).image_id, key="caf\udce9", member="caf\udce9.jpg")
    whole = image(1, "face")
    item = Rendered(
        ref=odd,
        status="written",
        segments=whole.segments,
        region=whole.region,
        seed=1,
        files=whole.files,
        sidecars=(),
    )
    found = tables(build_unit(sink, UNIT, FACTS, (item,)))
    assert found["images"].column("key").to_pylist() == found["masks"].column("key").to_pylist() == ["caf\\xe9"]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"uri": ""}, "sink.uri: expected a non-empty text, got ''"),
        ({"uri": " "}, "sink.uri: expected a non-empty text, got ' '"),
        ({"uri": 3}, "sink.uri: expected a non-empty text, got 3"),
        ({"images": "zip"}, "sink.images: expected tar, files, parquet or none, got 'zip'"),
        ({"images": []}, "sink.images: expected tar, files, parquet or none, got"),
        ({"single_writer": "yes"}, "sink.single_writer: expected true or false, got 'yes'"),
        ({"previews": -1}, "sink.previews: expected a whole number from 0 to 1000, got -1"),
        ({"previews": True}, "sink.previews: expected a whole number"),
    ],
)
def test_a_wrong_value_names_its_key(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        made("sink", Sink, **{"uri": "out", **fields})
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_a_sink_is_picklable(sink: Sink) -> None:
    assert pickle.loads(pickle.dumps(sink)) == sink


@pytest.mark.parametrize("choice", ["tar", "files", "parquet", "none"])
def test_each_preset_sets_the_sink_of_its_name(choice: str) -> None:
    assert preset("sink", choice) == Sink(uri="out", images=choice)  # type: ignore[arg-type]


def test_there_is_a_preset_for_every_kind() -> None:
    assert set(groups()["sink"]) == set(PUBLISH)
