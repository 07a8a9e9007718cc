"""What a run publishes leads somewhere: from an index row to its source, its files, its segments and its classes."""

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pycocotools.mask
import pytest
import yaml
from PIL import Image

from jobs.demo_shards import photograph
from pipeline.image.colours import colour_of, css
from tests.fakes.job_run import run
from tests.fakes.published_output import rows

MARKED = (
    "plugins=[tests]", "segment=[salient]", "~segment.salient",
    "+segment.marked._target_=tests.fakes.marked_segmenter.Marked", "render.labels=[cyan]", "select.labels=[]",
    "fill=solid", "render=everything", "execute=local",
)  # fmt: skip
MARK = np.s_[20:50, 30:60]


def marked_photo(name: str, colour: tuple[int, int, int]) -> bytes:
    """A photograph with a mark that the segmenter of the tests finds."""
    picture = photograph(name).convert("RGB").resize((120, 80))
    picture.paste(colour, (30, 20, 60, 50))
    out = io.BytesIO()
    picture.save(out, "PNG")
    return out.getvalue()


PICTURES = {
    "a.png": marked_photo("coffee.png", (255, 0, 255)),
    "b.left.png": marked_photo("chelsea.png", (0, 255, 255)),
}


def source(kind: str, folder: Path) -> Path:
    folder.mkdir()
    if kind == "folder":
        for name, data in PICTURES.items():
            (folder / name).write_bytes(data)
    elif kind == "tar":
        with tarfile.open(folder / "s.tar", "w") as archive:
            for name, data in PICTURES.items():
                info = tarfile.TarInfo(name)
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
    else:
        table = pa.table({"images": [list(PICTURES.values())], "label": [1], "tags": pa.array([[("k", 1)]], MAP)})
        features = {"label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}
        metadata = {"huggingface": json.dumps({"info": {"features": features}})}
        pq.write_table(table.replace_schema_metadata(metadata), folder / "s.pq")
    return folder


MAP = pa.map_(pa.string(), pa.int32())


@pytest.fixture(
    scope="module", params=[("folder", "files"), ("tar", "tar"), ("parquet", "parquet")], ids=lambda p: p[1]
)
def out(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tables")
    kind, sink = request.param
    assert run("clean", source(kind, folder / "in"), folder / "out", f"sink={sink}", *MARKED).code == 0
    return folder / "out"


def resolved(uri: str) -> bytes:
    """The bytes at an image_uri, by other means than the source's."""
    path, _, inside = uri.partition("#")
    assert Path(path).is_absolute()
    if not inside:
        return Path(path).read_bytes()
    if path.endswith(".tar"):
        with tarfile.open(path) as archive:
            return archive.extractfile(inside).read()  # type: ignore[union-attr]
    row, item = (int(part.partition("=")[2]) for part in inside.split("&"))
    with duckdb.connect() as db:
        query = "select images[?] from (select images, row_number() over () as n from read_parquet(?)) where n = ?"
        return bytes(db.execute(query, [item + 1, path, row + 1]).fetchall()[0][0])


def test_image_uri_is_where_the_image_came_from(out: Path) -> None:
    found = rows(out)
    assert [resolved(row["image_uri"]) for row in found] == list(PICTURES.values())


def published(out: Path, place: dict[str, Any]) -> Image.Image:
    path = out / place["path"]
    if path.suffix == ".tar":
        with tarfile.open(path) as archive:
            data = archive.extractfile(place["member"]).read()  # type: ignore[union-attr]
    elif path.suffix == ".parquet":
        (row,) = pq.read_table(path, filters=[("key", "==", place["member"])]).to_pylist()
        data = row["image"]["bytes"]
    else:
        data = path.read_bytes()
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools 2.0.11 on NumPy 2
def test_class_ids_are_those_of_classes_json_in_tables_and_label_maps(out: Path) -> None:
    classes = json.loads((out / "classes.json").read_text())
    assert [(row["id"], row["name"]) for row in classes] == [(1, "cyan"), (2, "magenta")]
    assert [row["colour"] for row in classes] == [css("cyan"), css("magenta")]
    by_id = {row["id"]: row["name"] for row in classes}
    masks = {row["image_id"]: row for row in rows(out, "masks")}
    assert [(masks[row["image_id"]]["label"], masks[row["image_id"]]["class_id"]) for row in rows(out)] == [
        ("magenta", 2),
        ("cyan", 1),
    ]
    for row in rows(out):
        mask = masks[row["image_id"]]
        assert by_id[mask["class_id"]] == mask["label"]
        inside = pycocotools.mask.decode({"counts": mask["rle"], "size": [mask["height"], mask["width"]]}) > 0
        assert inside[MARK].all()
        kinds = {place["kind"]: published(out, place) for place in row["outputs"]}
        assert set(kinds) == {"filled", "overlay", "cutout", "labels"}
        np.testing.assert_array_equal(np.asarray(kinds["labels"]), inside * mask["class_id"])
        assert {colour for _, colour in kinds["labels"].convert("RGB").getcolors() or ()} == {
            (0, 0, 0),
            colour_of(mask["label"]),
        }
        assert {image.size for image in kinds.values()} == {(120, 80)}


def test_the_card_s_configs_are_tables_with_rows(out: Path) -> None:
    front = (out / "README.md").read_text().split("---\n")[1]
    configs = yaml.safe_load(front)["configs"]
    images = {path.parent.name for path in out.glob("rendered/*/*.parquet")}
    with duckdb.connect() as db:
        counts = {
            c["config_name"]: db.execute(
                "select count(*) from read_parquet(?)", [str(out / c["data_files"])]
            ).fetchall()
            for c in configs
        }
    assert counts == {name: [(2,)] for name in ("images", "masks", *images)}


@pytest.mark.parametrize("out", [("parquet", "parquet")], indirect=True)
def test_the_published_images_come_with_their_segments_and_columns(out: Path) -> None:
    (path,) = (out / "rendered" / "filled").glob("*.parquet")
    table = pq.read_table(path)
    masks = {row.pop("image_id"): row for row in rows(out, "masks") if row.pop("key")}
    assert table["segments"].to_pylist() == [[masks[image]] for image in table["image_id"].to_pylist()]
    assert table["tags"].to_pylist() == [[{"key": "k", "value": 1}]] * 2
    features = json.loads(table.schema.metadata[b"huggingface"])["info"]["features"]
    assert features["label"]["names"] == ["cat", "dog"]
    assert [row["sidecars"] for row in rows(out)] == [["label", "tags"]] * 2


def test_hugging_face_datasets_loads_an_output(out: Path, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    found = datasets.load_dataset(str(out), split="train", cache_dir=str(tmp_path))
    assert len(found) == 2
    assert len(datasets.load_dataset(str(out), "masks", split="train", cache_dir=str(tmp_path))) == 2
