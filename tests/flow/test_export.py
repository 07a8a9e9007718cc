"""segfill export as a run is: resumable, atomic, from tars, folders and S3, with the right pictures, and refusals."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jobs import export
from pipeline.export.run_export import Export, Exporter, digest_of
from pipeline.export.tables import open_tables
from pipeline.image.decode import Decode
from pipeline.storage.store import Store, open_store
from tests.fakes.drawn_output import Drawn, mask, pieces, write
from tests.fakes.job_run import run
from tests.fakes.s3_server import S3
from tests.fakes.tar_samples import tar_of


class Killed(BaseException):
    """As a signal: nothing catches it."""


class Fragile(Store):
    """A store whose process dies before the n-th object."""

    writes = 0

    def put(self, path: str, data: bytes) -> str:
        self.writes -= 1
        if self.writes < 0:
            raise Killed
        return super().put(path, data)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """An output of one image without a segment."""
    return write(tmp_path_factory.mktemp("small"), {"a.png": (8, 8)})


def exporter(output: Store, target: Store, **settings: object) -> Exporter:
    from pipeline.export.pictures import NoPictures

    made = Export(**settings)  # type: ignore[arg-type]
    return Exporter(
        settings=made, tables=open_tables(output), store=target, pictures=NoPictures(), decoder=Decode().load()
    )


@pytest.mark.parametrize("name", ["coco_panoptic", "hf"])
def test_killed_after_any_file_and_resumed_it_has_the_same_bytes(tmp_path: Path, name: str) -> None:
    output = write(tmp_path, pieces(), unit_images=2)
    whole = open_store(str(tmp_path / "whole"))
    exporter(output, whole, format=name).run()
    for writes in (0, 2, 5):
        target = Fragile(str(tmp_path / str(writes)))
        target.writes = writes
        try:
            exporter(output, target, format=name).run()
        except Killed:
            assert "export.json" not in {info.path for info in open_store(target.uri).list()}
        exporter(output, open_store(target.uri), format=name).run()
        assert digest_of(open_store(target.uri)) == digest_of(whole)


def test_the_same_bytes_from_any_cut_into_units_but_for_tables_a_unit(tmp_path: Path) -> None:
    one = write(tmp_path / "a", pieces(), unit_images=7)
    other = write(tmp_path / "b", pieces(), unit_images=2)
    names = {}
    for output in (one, other):
        target = open_store(f"{output.uri}-coco")
        exporter(output, target, format="coco", images="none").run()
        names[output.uri] = json.loads(target.read("annotations/instances_train.json"))["annotations"]
    assert names[one.uri] == names[other.uri]


def test_a_whole_export_is_left_as_it_is_and_another_one_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = write(tmp_path, pieces())
    to = tmp_path / "coco"
    assert export.main([f"uri={output.uri}", f"to={to}"]) == 0
    first = capsys.readouterr().out
    before = {path: path.stat().st_mtime_ns for path in to.rglob("*")}
    assert export.main([f"uri={output.uri}", f"to={to}"]) == 0
    assert capsys.readouterr().out == first
    assert {path: path.stat().st_mtime_ns for path in to.rglob("*")} == before
    assert export.main([f"uri={output.uri}", f"to={to}", "min_score=0.5"]) == 2
    assert "holds another export (min_score: 0.0 there, 0.5 now)" in capsys.readouterr().err


def test_to_s3_it_is_the_same(s3: S3, tmp_path: Path) -> None:
    output = write(tmp_path, pieces())
    for to in (str(tmp_path / "yolo"), s3.uri("yolo")):
        assert export.main([f"uri={output.uri}", f"to={to}", "format=yolo", "images=copy"]) == 0
    assert digest_of(open_store(s3.uri("yolo"))) == digest_of(open_store(str(tmp_path / "yolo")))
    assert export.main([f"uri={output.uri}", f"to={s3.uri('l')}", "images=link"]) == 2


def _turned(size: tuple[int, int]) -> bytes:
    """A JPEG that is stored lying, of this upright (width, height); its upper left pixels are red when upright."""
    upright = Image.new("RGB", size, "blue")
    upright.paste((255, 0, 0), (0, 0, size[0] // 2, size[1] // 2))
    exif = Image.Exif()
    exif[0x0112] = 6
    out = io.BytesIO()
    upright.rotate(90, expand=True).save(out, "JPEG", quality=95, exif=exif)
    return out.getvalue()


def test_a_turned_photograph_is_copied_upright_with_the_size_of_its_masks(tmp_path: Path) -> None:
    drawn = {"a.jpg": [Drawn(label="cat", score=0.9, mask=mask(64, 32, (0, 0, 16, 32)))]}
    output = write(tmp_path, drawn)
    (tmp_path / "in" / "a.jpg").unlink()
    (tmp_path / "again").mkdir()
    (tmp_path / "again" / "a.jpg").write_bytes(_turned((32, 64)))
    ended = run("annotate", tmp_path / "again", tmp_path / "seen", "segment=[faces]", "execute=local")
    assert ended.code == 0
    assert export.main([f"uri={tmp_path / 'seen'}", f"to={tmp_path / 'yolo'}", "format=yolo", "images=copy"]) == 0
    copied = Image.open(tmp_path / "yolo/images/train/a.jpg")
    assert copied.size == (32, 64)
    assert copied.getexif().get(0x0112, 1) == 1
    red = np.asarray(copied.convert("RGB"))[5, 5]
    assert red[0] > 200 > red[2]
    assert output.is_local


def test_images_of_a_tar_are_copied_byte_for_byte(tmp_path: Path) -> None:
    output = write(tmp_path, pieces(), tar=True, unit_images=2)
    assert export.main([f"uri={output.uri}", f"to={tmp_path / 'coco'}", "images=copy"]) == 0
    copied = {path.name: path.read_bytes() for path in (tmp_path / "coco/images/train/shard.tar").iterdir()}
    assert sorted(copied) == ["a.png", "b.1.png", "b.2.png", "d.png", "e.png", "f.png"]
    found = json.loads((tmp_path / "coco/annotations/instances_train.json").read_text())["images"]
    for image in found:
        assert image["coco_url"].startswith(f"{tmp_path / 'in'}/shard.tar#")
        name = image["file_name"].rpartition("/")[2]
        assert Image.open(io.BytesIO(copied[name])).size == (image["width"], image["height"])
    assert export.main([f"uri={output.uri}", f"to={tmp_path / 'linked'}", "images=link"]) == 2


def test_links_lead_to_the_source(tmp_path: Path) -> None:
    output = write(tmp_path, pieces())
    assert export.main([f"uri={output.uri}", f"to={tmp_path / 'coco'}", "images=link"]) == 0
    assert (tmp_path / "coco/images/train/a.png").readlink() == tmp_path / "in/a.png"


def test_a_source_that_changed_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = write(tmp_path, pieces())
    Image.new("RGB", (90, 60)).save(tmp_path / "in/a.png")
    assert export.main([f"uri={output.uri}", f"to={tmp_path / 'coco'}", "images=copy"]) == 1
    assert "a.png: the image has changed since the run" in capsys.readouterr().err


@pytest.mark.parametrize("sink", ["tar", "files", "parquet"])
def test_a_private_run_gives_its_filled_images_never_its_originals(tmp_path: Path, sink: str) -> None:
    from jobs.demo_shards import photograph

    (tmp_path / "in").mkdir()
    photograph("astronaut.png").convert("RGB").crop((96, 0, 352, 256)).save(tmp_path / "in/face.png")
    ended = run("anonymize", tmp_path / "in", tmp_path / "out", "execute=local", "audit=none", f"sink={sink}")
    assert ended.code == 0
    to = tmp_path / "coco"
    assert export.main([f"uri={tmp_path / 'out'}", f"to={to}", "images=copy"]) == 0
    found = json.loads((to / "annotations/instances_train.json").read_text())
    x, y, w, h = (int(value) for value in found["annotations"][0]["bbox"])
    copied = np.asarray(Image.open(to / "images/train" / found["images"][0]["file_name"]).convert("RGB"))
    original = np.asarray(Image.open(tmp_path / "in/face.png"))
    inside = (slice(y + h // 3, y + h // 2), slice(x + w // 3, x + w // 2))
    assert np.ptp(copied[inside].reshape(-1, 3), axis=0).max() == 0  # a solid fill
    assert np.ptp(original[inside].reshape(-1, 3), axis=0).max() > 20
    assert export.main([f"uri={tmp_path / 'out'}", f"to={tmp_path / 'l'}", "images=link"]) == 2


def test_a_private_run_that_published_nothing_has_no_pictures_to_copy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").mkdir()
    Image.new("RGB", (64, 64)).save(tmp_path / "in/a.png")
    assert run("anonymize", tmp_path / "in", tmp_path / "out", "execute=local", "audit=none", "sink=none").code == 0
    assert export.main([f"uri={tmp_path / 'out'}", f"to={tmp_path / 'c'}", "images=copy"]) == 2
    assert "is private and published no filled images" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["format=coco_panoptic", "shape=polygons"], "format=coco_panoptic holds rle, got polygons"),
        (["format=hf", "images=link"], "expected copy, name or none"),
        (["labels=cta"], "did you mean cat?"),
        (["stuff=cow"], "stuff: this output has no cow"),
        (["format=voc"], "expected coco, coco_panoptic, label_maps"),
        (["tolerence=2"], "did you mean export.tolerance?"),
    ],
)
def test_what_cannot_be_is_refused_before_a_byte_is_written(
    tmp_path: Path, small: Store, overrides: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export.main([f"uri={small.uri}", f"to={tmp_path / 'to'}", *overrides]) == 2
    assert says in capsys.readouterr().err
    assert not (tmp_path / "to").exists()


def test_an_export_into_its_output_is_refused(small: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert export.main([f"uri={small.uri}", f"to={small.uri}/coco"]) == 2
    assert "lies in the output" in capsys.readouterr().err


def test_two_images_of_one_stem_and_two_tars_of_one_member_keep_apart(tmp_path: Path) -> None:
    drawn = {"a.png": (8, 8), "a.jpg": (8, 9)}
    output = write(tmp_path, drawn)
    assert export.main([f"uri={output.uri}", f"to={tmp_path / 'yolo'}", "format=yolo", "images=copy"]) == 0
    assert len(list((tmp_path / "yolo/labels/train").iterdir())) == 2
    assert len(list((tmp_path / "yolo/images/train").iterdir())) == 2
    (tmp_path / "tars").mkdir()
    for name in ("x.tar", "y.tar"):
        picture = io.BytesIO()
        Image.new("RGB", (8, 8)).save(picture, "PNG")
        (tmp_path / "tars" / name).write_bytes(tar_of([("a.png", picture.getvalue())]))
    assert run("annotate", tmp_path / "tars", tmp_path / "two", "segment=[faces]", "execute=local").code == 0
    assert export.main([f"uri={tmp_path / 'two'}", f"to={tmp_path / 'maps'}", "format=label_maps"]) == 0
    assert sorted(str(p.relative_to(tmp_path / "maps")) for p in (tmp_path / "maps").rglob("*.png")) == [
        "labels/train/x.tar/a.png",
        "labels/train/y.tar/a.png",
    ]
