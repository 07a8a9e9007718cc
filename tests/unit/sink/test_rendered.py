"""Rendered images as tar, loose files and Parquet: exact contents, the same bytes twice, readable without our code."""

import base64
import datetime
import io
import json
import tarfile
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import skimage
from PIL import Image

from pipeline.image import rle
from pipeline.records import (
    ImageRef,
    OutputFile,
    Region,
    Rejected,
    Rendered,
    RenderedFile,
    Segment,
    Segments,
    Sidecar,
    Unit,
    image_id,
)
from pipeline.sink.masks import masks
from pipeline.sink.rendered import IMAGE, Place, as_files, as_nothing, as_parquet, as_tar, tar
from pipeline.source.names import stem

PHOTO = (Path(skimage.__file__).parent / "data" / "chelsea.png").read_bytes()
TAR = Unit(unit_id="train-0", shard="a/train.tar", uri="s3://b/a/train.tar", etag="", start=0, stop=9, last=True)
FOLDER = Unit(unit_id="photos-0", shard="photos", uri="s3://b/photos", etag="", start=0, stop=9, last=True)


def columns(_features: object = None, /, **values: object) -> Sidecar:
    """A row as the Parquet source ships it, with what Hugging Face knows of its columns."""
    metadata = {"huggingface": json.dumps({"info": {"features": _features}})} if _features else None
    arrays = {name: v if isinstance(v, pa.Array) else pa.array([v]) for name, v in values.items()}
    table = pa.table(arrays, metadata=metadata)
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return Sidecar(name="columns", data=sink.getvalue(), kind="columns")


def image(member: str, *files: tuple[str, str, bytes], sidecars: tuple[Sidecar, ...] = ()) -> Rendered:
    ref = ImageRef(image_id=image_id("s", member), key=stem(member), member=member)
    return Rendered(
        ref=ref,
        status="written",
        segments=Segments(image_id=ref.image_id, height=2, width=2, segments=()),
        region=Region(image_id=ref.image_id, height=2, width=2, rle=b"", area=0, chosen=()),
        seed=0,
        files=tuple(RenderedFile(kind=kind, suffix=suffix, data=data) for kind, suffix, data in files),
        sidecars=sidecars,
    )


CAPTION = Sidecar(name="txt", data=b"a cat")
LABELS = Sidecar(name="seg.png", data=b"png bytes")
BROKEN = Rejected(ref=image("d/broken.jpg").ref, stage="decode", reason="truncated", detail="cut")
ITEMS: list[Rendered | Rejected] = [
    image("d/b.png", ("filled", ".png", PHOTO), ("overlay", ".jpg", b"overlay b"), sidecars=(CAPTION, LABELS)),
    BROKEN,
    image("d/a.jpg", ("filled", ".jpg", b"jpeg a"), ("overlay", ".jpg", b"overlay a")),
]


def members(data: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return {m.name: archive.extractfile(m).read() for m in archive.getmembers()}  # type: ignore[union-attr]


def by_folder(files: tuple[OutputFile, ...]) -> dict[str, OutputFile]:
    return {file.path.rpartition("/")[0]: file for file in files}


# --- tar -------------------------------------------------------------------------------------------------------


def test_tar_holds_images_in_source_order_and_sidecars_after_the_filled_one() -> None:
    published = as_tar(TAR, ITEMS)
    files = by_folder(published.files)
    assert set(files) == {"rendered/filled", "rendered/overlay"}
    assert list(members(files["rendered/filled"].data).items()) == [
        ("d/b.png", PHOTO),
        ("d/b.txt", b"a cat"),
        ("d/b.seg.png", b"png bytes"),
        ("d/a.jpg", b"jpeg a"),
    ]
    assert members(files["rendered/overlay"].data) == {"d/b.jpg": b"overlay b", "d/a.jpg": b"overlay a"}
    assert published.loose == published.staged == ()


def test_tar_places_name_the_object_and_the_member() -> None:
    published = as_tar(TAR, ITEMS)
    files = by_folder(published.files)
    path = files["rendered/filled"].path
    assert path == f"rendered/filled/train-0-{files['rendered/filled'].sha256[:12]}.tar"
    assert published.places[0, "filled"] == Place(path=path, member="d/b.png")
    assert published.places[2, "overlay"].member == "d/a.jpg"
    assert {position for position, _ in published.places} == {0, 2}


def test_tar_bytes_say_nothing_of_when_where_and_who() -> None:
    data = tar([("a.jpg", b"x"), ("b/" + "n" * 150 + ".jpg", b"y"), ("ünï/日本.jpg", b"z")])
    assert data == tar([("a.jpg", b"x"), ("b/" + "n" * 150 + ".jpg", b"y"), ("ünï/日本.jpg", b"z")])
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        found = archive.getmembers()
        assert [m.name for m in found] == ["a.jpg", "b/" + "n" * 150 + ".jpg", "ünï/日本.jpg"]
        assert {(m.mtime, m.uid, m.gid, m.uname, m.gname, m.mode) for m in found} == {(0, 0, 0, "", "", 0o644)}


def test_tar_ends_with_two_zero_blocks_and_starts_with_a_plain_ustar_header() -> None:
    data = tar([("a.jpg", b"x" * 700)])
    assert data[257:263] == b"ustar\0"
    assert data[156:157] == b"0"
    assert len(data) % 10240 == 0
    assert set(data[512 + 1024 :]) == {0}


def test_tar_turns_columns_into_json() -> None:
    day = datetime.datetime(2024, 5, 6, 7, 8, 9, tzinfo=datetime.UTC)
    row = columns(
        caption="ein Kätzchen",
        score=float("nan"),
        raw=b"\x00\xff",
        when=day,
        day=day.date(),
        price=Decimal("1.50"),
        took=datetime.timedelta(seconds=90),
        ns=pa.array([1_700_000_000_000_000_001], pa.timestamp("ns")),
        tags=["a", "b"],
        box={"x": 1, "name": None},
    )
    (file,) = as_tar(TAR, [image("a.jpg", ("filled", ".jpg", b"x"), sidecars=(row,))]).files
    assert json.loads(members(file.data)["a.columns.json"]) == {
        "caption": "ein Kätzchen",
        "score": None,
        "raw": base64.b64encode(b"\x00\xff").decode(),
        "when": "2024-05-06T07:08:09+00:00",
        "day": "2024-05-06",
        "price": "1.50",
        "took": 90.0,
        "ns": "2023-11-14 22:13:20.000000001",
        "tags": ["a", "b"],
        "box": {"x": 1, "name": None},
    }


def test_nothing_to_publish_makes_no_object() -> None:
    for publish in (as_tar, as_files, as_parquet):
        published = publish(TAR, [BROKEN, image("a.jpg")])
        assert published.files == published.loose == published.staged == ()
    assert as_nothing(TAR, ITEMS).files == ()


# --- loose files -----------------------------------------------------------------------------------------------


def test_files_of_a_folder_keep_their_names() -> None:
    published = as_files(FOLDER, ITEMS)
    assert {file.path: file.data for file in published.loose} == {
        "rendered/filled/d/b.png": PHOTO,
        "rendered/filled/d/b.txt": b"a cat",
        "rendered/filled/d/b.seg.png": b"png bytes",
        "rendered/filled/d/a.jpg": b"jpeg a",
        "rendered/overlay/d/b.jpg": b"overlay b",
        "rendered/overlay/d/a.jpg": b"overlay a",
    }
    assert published.places[0, "overlay"] == Place(path="rendered/overlay/d/b.jpg")
    assert published.files == ()


def test_files_of_a_tar_lie_in_a_folder_of_its_own() -> None:
    paths = [file.path for file in as_files(TAR, ITEMS).loose]
    assert paths[0] == "rendered/filled/a/train.tar/d/b.png"


def test_staged_tar_restores_every_loose_file() -> None:
    published = as_files(FOLDER, ITEMS)
    (staged,) = published.staged
    assert staged.path == f"_staged/photos-0-{staged.sha256[:12]}.tar"
    assert members(staged.data) == {file.path: file.data for file in published.loose}


def test_hostile_names_stay_below_the_output(tmp_path: Path) -> None:
    items = [
        image(name, ("filled", ".jpg", name.encode()))
        for name in ("../../up.jpg", "/root.jpg", "a\nb.jpg", "x" * 300 + ".jpg", "a/../../c.jpg", "..")
    ]
    loose = as_files(FOLDER, items).loose
    assert len({file.path for file in loose}) == len(items)
    for file in loose:
        path = tmp_path / file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file.data)
        assert path.resolve().is_relative_to(tmp_path / "rendered" / "filled")
    with tarfile.open(fileobj=io.BytesIO(as_tar(TAR, items).files[0].data)) as archive:
        archive.extractall(tmp_path / "tar", filter="data")
        assert len(archive.getmembers()) == len(items)


# --- Parquet ---------------------------------------------------------------------------------------------------

ROWS: list[Rendered | Rejected] = [
    image("0", ("filled", ".png", PHOTO), sidecars=(columns(label=3, caption="cat", vec=[0.5, 1.0]),)),
    ITEMS[1],
    image("1", ("filled", ".png", b"second"), sidecars=(columns(label=4, caption=None, vec=[2.0]),)),
]


@pytest.fixture
def parquet_file(tmp_path: Path) -> Path:
    (file,) = as_parquet(TAR, ROWS).files
    assert file.path == f"rendered/filled/train-0-{file.sha256[:12]}.parquet"
    path = tmp_path / "images.parquet"
    path.write_bytes(file.data)
    return path


def test_parquet_restores_the_source_columns_with_their_types(parquet_file: Path) -> None:
    table = pq.read_table(parquet_file)
    assert table.column_names == ["key", "image", "image_id", "segments", "sidecars", "label", "caption", "vec"]
    assert table.schema.field("label").type == pa.int64()
    assert table.column("label").to_pylist() == [3, 4]
    assert table.column("caption").to_pylist() == ["cat", None]
    assert table.column("vec").to_pylist() == [[0.5, 1.0], [2.0]]


def test_parquet_image_column_is_one_for_hugging_face(parquet_file: Path) -> None:
    schema = pq.read_schema(parquet_file)
    assert schema.field("image").type == IMAGE == pa.struct({"bytes": pa.binary(), "path": pa.string()})
    assert json.loads(schema.metadata[b"huggingface"]) == {"info": {"features": {"image": {"_type": "Image"}}}}


def test_parquet_image_decodes_through_pandas_and_duckdb(parquet_file: Path) -> None:
    first = pd.read_parquet(parquet_file)["image"][0]
    assert first["path"] == "0.png"
    with Image.open(io.BytesIO(first["bytes"])) as picture, Image.open(io.BytesIO(PHOTO)) as original:
        assert np.array_equal(np.asarray(picture), np.asarray(original))
    with duckdb.connect() as db:
        query = "select key, octet_length(image.bytes), caption from read_parquet(?) order by key"
        assert db.execute(query, [str(parquet_file)]).fetchall() == [("0", len(PHOTO), "cat"), ("1", 6, None)]


def test_parquet_file_sidecars_stand_in_one_list_column() -> None:
    table = pq.read_table(io.BytesIO(by_folder(as_parquet(TAR, ITEMS).files)["rendered/filled"].data))
    assert table.column("sidecars").to_pylist() == [
        [{"name": "txt", "data": b"a cat"}, {"name": "seg.png", "data": b"png bytes"}],
        [],
    ]


SAMPLE = [
    image("1.left.jpg", ("filled", ".jpg", b"left"), sidecars=(Sidecar(name="json", data=b"{}"),)),
    image(
        "1.right.jpg",
        ("filled", ".jpg", b"right"),
        sidecars=(Sidecar(name="json", data=b"{}"), Sidecar(name="right.txt", data=b"on the right")),
    ),
]


def test_a_text_of_several_images_is_published_once_beside_them_and_with_each_row_of_a_table() -> None:
    names = ["1.left.jpg", "1.json", "1.right.jpg", "1.right.txt"]
    assert list(members(as_tar(TAR, SAMPLE).files[0].data)) == names
    assert [file.path for file in as_files(TAR, SAMPLE).loose] == [f"rendered/filled/a/train.tar/{n}" for n in names]
    table = pq.read_table(io.BytesIO(as_parquet(TAR, SAMPLE).files[0].data))
    assert table.column("key").to_pylist() == ["1.left", "1.right"]
    assert table.column("sidecars").to_pylist() == [
        [{"name": "json", "data": b"{}"}],
        [{"name": "json", "data": b"{}"}, {"name": "txt", "data": b"on the right"}],
    ]


def test_captions_of_files_with_dots_keep_the_name_of_their_image_in_every_sink() -> None:
    texts = {what: Sidecar(name=f"0.{what}.txt", data=what.encode()) for what in ("cat", "dog")}
    items = [image(f"v1.0.{what}.jpg", ("filled", ".jpg", b"x"), sidecars=(text,)) for what, text in texts.items()]
    loose = [f"v1.0.{what}.{suffix}" for what in ("cat", "dog") for suffix in ("jpg", "txt")]
    assert [file.path for file in as_files(FOLDER, items).loose] == [f"rendered/filled/{name}" for name in loose]
    # A tar reader ends a key at its first dot: each image must be a sample of its own there.
    assert list(members(as_tar(FOLDER, items).files[0].data)) == [
        f"v1_0_{what}.{suffix}" for what in ("cat", "dog") for suffix in ("jpg", "txt")
    ]
    published = as_parquet(FOLDER, items)
    table = pq.read_table(io.BytesIO(published.files[0].data))
    assert table.column("sidecars").to_pylist() == [
        [{"name": "txt", "data": b"cat"}],
        [{"name": "txt", "data": b"dog"}],
    ]
    assert [row["path"] for row in table.column("image").to_pylist()] == ["v1.0.cat.jpg", "v1.0.dog.jpg"]
    assert [place.member for place in published.places.values()] == ["v1.0.cat", "v1.0.dog"]


def test_parquet_of_another_kind_has_no_sidecars() -> None:
    table = pq.read_table(io.BytesIO(by_folder(as_parquet(TAR, ITEMS).files)["rendered/overlay"].data))
    assert table.column_names == ["key", "image", "image_id", "segments"]


def test_parquet_images_come_with_their_segments() -> None:
    mask = np.eye(2, dtype=bool)
    found = Segment(
        label="cat", class_id=3, score=0.5, rle=rle.encode(mask), box=(0.0, 0.0, 2.0, 2.0), area=2, model="m"
    )
    with_segment = image("0", ("filled", ".jpg", b"x"), ("labels", ".png", b"y"))
    with_segment = replace(with_segment, segments=replace(with_segment.segments, segments=(found,)))
    items = [with_segment, image("1", ("filled", ".jpg", b"z"))]
    for file in as_parquet(TAR, items).files:
        first, *others = pq.read_table(io.BytesIO(file.data))["segments"].to_pylist()
        (row,) = masks(items[:1]).to_pylist()
        assert first == [{name: value for name, value in row.items() if name not in ("image_id", "key")}]
        assert (first[0]["class_id"], first[0]["label"], first[0]["height"]) == (3, "cat", 2)
        assert others == ([[]] if "filled" in file.path else [])


def test_parquet_missing_and_clashing_columns() -> None:
    items = [
        image("0", ("filled", ".jpg", b"x"), sidecars=(columns(key="mine", n=1),)),
        image("1", ("filled", ".jpg", b"y")),
    ]
    table = pq.read_table(io.BytesIO(as_parquet(TAR, items).files[0].data))
    assert table.column("key").to_pylist() == ["0", "1"]
    assert table.column("key_source").to_pylist() == ["mine", None]
    assert table.column("n").to_pylist() == [1, None]


CAT = {"names": ["cat", "dog"], "_type": "ClassLabel"}


def test_parquet_keeps_the_names_of_class_labels_under_the_column_s_new_name() -> None:
    told = {"label": CAT, "key": CAT, "dropped": CAT}
    items = [image(str(i), ("filled", ".jpg", b"x"), sidecars=(columns(told, key=i, label=i),)) for i in range(2)]
    (file,) = as_parquet(TAR, [image("9", ("filled", ".jpg", b"x")), *items]).files
    metadata = pq.read_schema(io.BytesIO(file.data)).metadata
    features = {"image": {"_type": "Image"}, "key_source": CAT, "label": CAT}
    assert json.loads(metadata[b"huggingface"]) == {"info": {"features": features}}


def test_tar_names_the_classes_of_labels() -> None:
    told = {"a": CAT, "b": CAT, "c": CAT, "d": {"_type": "List", "feature": CAT}, "e": [CAT], "f": CAT}
    row = columns(told, a=1, b=-1, c=None, d=[1], e=[1], f=0, f_name="own")
    (file,) = as_tar(TAR, [image("a.png", ("filled", ".png", PHOTO), sidecars=(row,))]).files
    values = {"a": 1, "b": -1, "c": None, "d": [1], "e": [1], "f": 0, "f_name": "own", "a_name": "dog"}
    assert json.loads(members(file.data)["a.columns.json"]) == values


def test_parquet_columns_of_categories_and_of_nulls() -> None:
    items = [
        image(str(i), ("filled", ".jpg", b"x"), sidecars=(columns(kind=pa.array([word]).dictionary_encode(), n=n),))
        for i, (word, n) in enumerate([("cat", None), ("dog", 7)])
    ]
    table = pq.read_table(io.BytesIO(as_parquet(TAR, items).files[0].data))
    assert table.column("kind").to_pylist() == ["cat", "dog"]
    assert table.column("n").to_pylist() == [None, 7]


@pytest.mark.parametrize("publish", [as_tar, as_files, as_parquet])
def test_the_same_items_give_the_same_bytes(publish: Callable[..., object]) -> None:
    assert publish(TAR, ITEMS) == publish(TAR, list(ITEMS))
    assert publish(TAR, ROWS) == publish(TAR, list(ROWS))
