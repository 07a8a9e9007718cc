"""The demo's images are real, honest about their awkward ones, and the same on every build."""

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageOps

from jobs import demo_shards


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo")
    demo_shards.build(folder)
    return folder


def files_of(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def loads(data: bytes) -> bool:
    try:
        Image.open(io.BytesIO(data)).load()
    except OSError:
        return False
    return True


def test_the_same_bytes_on_every_build(demo: Path, tmp_path: Path) -> None:
    demo_shards.build(tmp_path)
    assert files_of(tmp_path) == files_of(demo)


def test_tars_hold_whole_samples_in_order(demo: Path) -> None:
    tars = sorted((demo / "webdataset").iterdir())
    assert [p.name for p in tars] == ["demo-000000.tar", "demo-000001.tar"]
    for path, shots in zip(tars, demo_shards.WEBDATASET, strict=True):
        with tarfile.open(path) as tar:
            names = tar.getnames()
            assert names == [f"{s.name}{end}" for s in shots for end in (s.suffix, ".json", ".txt")]
            assert all(member.mtime == 0 for member in tar.getmembers())
            sidecar = tar.extractfile(f"{shots[1].name}.json")
            assert sidecar is not None
            assert json.load(sidecar) == {"photo": shots[1].photo, "title": shots[1].title}


def test_parquet_is_an_image_struct_in_two_row_groups(demo: Path) -> None:
    table = pq.ParquetFile(demo / "parquet" / "demo.parquet")
    assert table.num_row_groups == 2
    rows = table.read().to_pylist()
    assert [row["caption"] for row in rows] == [shot.title for shot in demo_shards.PARQUET]
    assert all(loads(row["image"]["bytes"]) for row in rows)


def test_exactly_the_truncated_files_do_not_load(demo: Path) -> None:
    folder = demo / "folder"
    broken = {name for name, data in files_of(folder).items() if not loads(data)}
    assert broken == {"papers/broken.jpg"}
    assert {Path(name).suffix for name in files_of(folder)} == {".jpg", ".png", ".webp"}


def test_the_awkward_files_are_what_they_say(demo: Path) -> None:
    with Image.open(demo / "folder/people/turned.jpg") as turned:
        assert turned.getexif()[0x0112] == 6
        upright = np.asarray(ImageOps.exif_transpose(turned).convert("RGB"), np.int16)
    shot = next(s for s in demo_shards.FOLDER if s.quirk == "turned")
    drawn = np.asarray(demo_shards.draw(shot).convert("RGB"), np.int16)
    assert upright.shape == drawn.shape
    assert np.abs(upright - drawn).mean() < 5
    with Image.open(demo / "folder/things/coffee.jpg") as located:
        assert located.getexif().get_ifd(0x8825)[1] == "N"
        assert located.info["comment"].startswith(b"a comment")
    with Image.open(demo / "folder/people/print.jpg") as print_:
        assert print_.mode == "CMYK"


def test_a_caption_changes_only_its_place() -> None:
    shot = next(s for s in demo_shards.WEBDATASET[0] if s.name == "cat")
    drawn = np.asarray(demo_shards.draw(shot))
    plain = np.asarray(demo_shards.photograph(shot.photo).convert("RGB"))
    rows = np.nonzero((drawn != plain).any(axis=(1, 2)))[0]
    assert rows.size > 0
    assert rows.min() > 0.8 * plain.shape[0]


@pytest.mark.slow
def test_bench_images_in_tars_and_files_are_the_same(tmp_path: Path) -> None:
    demo_shards.build_bench(tmp_path, 130)
    files = files_of(tmp_path / "files")
    inside: dict[str, bytes] = {}
    for path in sorted((tmp_path / "shards").iterdir()):
        with tarfile.open(path) as tar:
            inside |= {m.name: tar.extractfile(m).read() for m in tar.getmembers()}  # type: ignore[union-attr]
    assert inside == files
    assert len(files) == 130
    assert Image.open(io.BytesIO(files["000129.jpg"])).size == demo_shards.BENCH_SIZE
    assert len(set(files.values())) == 130


def test_a_complete_bench_folder_is_left_alone_and_another_one_rebuilt(tmp_path: Path) -> None:
    demo_shards.build_bench(tmp_path, 3)
    (tmp_path / "files/000001.jpg").unlink()
    demo_shards.build_bench(tmp_path, 3)
    assert not (tmp_path / "files/000001.jpg").exists()
    demo_shards.build_bench(tmp_path, 2, loose=False)
    assert not list(tmp_path.glob("files/*"))
    with tarfile.open(tmp_path / "shards/bench-000000.tar") as tar:
        assert tar.getnames() == ["000000.jpg", "000001.jpg"]


def test_bench_pictures_repeat_after_a_thousand() -> None:
    assert demo_shards.bench_image(1003) == demo_shards.bench_image(3)
    assert sum(demo_shards.has_face(i) for i in range(1000)) == 334


def test_command_line_says_what_it_wrote(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    demo_shards.main([str(tmp_path / "demo")])
    assert capsys.readouterr().out.endswith(": folder, parquet, webdataset\n")
