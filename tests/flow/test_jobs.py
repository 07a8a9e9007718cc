"""The three jobs on the demo photographs through the plain loop: what a user gets, and gets told."""

import io
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from jobs.demo_shards import build as build_shards
from jobs.entry import main
from pipeline import build, driver
from tests.fakes.published_output import everything, published, totals


@pytest.fixture(scope="session")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo")
    build_shards(folder)
    return folder


def run(name: str, *overrides: str) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    code = driver.run(build.build(build.compose(name, ["execute=local", *overrides])), out, err)
    return code, out.getvalue(), err.getvalue()


@pytest.fixture(scope="session")
def faces_removed(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, tuple[int, str, str]]:
    out = tmp_path_factory.mktemp("runs") / "anonymize"
    return out, run(
        "anonymize", f"source.uri={shards / 'folder'}", f"sink.uri={out}", "sink=files", "max_reject_share=0.1"
    )


def index(out: Path) -> dict[str, dict[str, object]]:
    rows = [row for path in sorted((out / "images").glob("*.parquet")) for row in pq.read_table(path).to_pylist()]
    return {str(row["member"]): row for row in rows}


@pytest.mark.promise("Images in = written + unchanged + rejected, in every unit and run")
def test_every_image_of_the_folder_has_one_row_and_one_fate(shards: Path, faces_removed) -> None:  # type: ignore[no-untyped-def]
    out, (code, said, _) = faces_removed
    rows = index(out)
    files = {p.relative_to(shards / "folder").as_posix() for p in (shards / "folder").rglob("*") if p.is_file()}
    assert set(rows) == files
    assert code == 0
    assert totals(str(out)) == {"images": 12, "written": 5, "unchanged": 6, "rejected": 1}
    people = {m for m in files if m.startswith("people/")}
    false_alarm = {"things/motorcycle.png"}  # eight pixels of it pass for a face at twice its size: recall first
    assert {m for m, row in rows.items() if row["status"] == "written"} == people | false_alarm
    assert (rows["papers/broken.jpg"]["stage"], rows["papers/broken.jpg"]["reason"]) == ("decode", "truncated")
    assert "rejected" in said
    assert (out / "report" / "index.html").stat().st_size > 5000
    assert (out / "_run" / "SUCCESS.json").exists()


def test_faces_are_gone_and_all_else_is_untouched(shards: Path, faces_removed) -> None:  # type: ignore[no-untyped-def]
    out, _ = faces_removed
    before = np.asarray(Image.open(shards / "folder/people/2026/mirrored.webp").convert("RGB")).astype(int)
    after = np.asarray(Image.open(out / "rendered/filled/people/2026/mirrored.webp").convert("RGB")).astype(int)
    difference = np.abs(before - after).max(axis=2)
    assert before.shape == after.shape
    assert difference[100:160, 260:310].mean() > 20  # the astronaut's mirrored face
    assert np.median(difference) <= 6  # one WebP re-encode elsewhere


def test_a_picture_without_a_face_keeps_its_pixels_and_loses_its_place(shards: Path, faces_removed) -> None:  # type: ignore[no-untyped-def]
    out, _ = faces_removed
    source, stripped = shards / "folder/things/coffee.jpg", out / "rendered/filled/things/coffee.jpg"
    assert len(Image.open(source).getexif()) > 0
    assert len(Image.open(stripped).getexif()) == 0
    np.testing.assert_array_equal(np.asarray(Image.open(source)), np.asarray(Image.open(stripped)))


@pytest.mark.promise("A finished output is never written again")
def test_a_finished_output_is_left_as_it_is_and_says_so(shards: Path, faces_removed) -> None:  # type: ignore[no-untyped-def]
    out, _ = faces_removed
    before = {path: (out / path).stat().st_mtime_ns for path in everything(str(out))}
    code, said, _ = run(
        "anonymize", f"source.uri={shards / 'folder'}", f"sink.uri={out}", "sink=files", "max_reject_share=0.1"
    )
    assert code == 0
    assert "nothing left to do" in said
    assert {path: (out / path).stat().st_mtime_ns for path in everything(str(out))} == before


@pytest.mark.promise("A run that cannot work is refused in one line and writes nothing")
def test_another_config_into_the_same_output_is_refused_by_key(
    shards: Path,
    faces_removed,
    capsys: pytest.CaptureFixture[str],  # type: ignore[no-untyped-def]
) -> None:
    out, _ = faces_removed
    before = published(str(out))
    overrides = [
        f"source.uri={shards / 'folder'}",
        f"sink.uri={out}",
        "sink=files",
        "execute=local",
        "select.dilate_share=0.3",
    ]
    assert main("anonymize", overrides) == 2
    message = capsys.readouterr().err
    assert "select.dilate_share" in message
    assert message.count("\n") == 1
    assert published(str(out)) == before


def test_clean_removes_the_captions_from_parquet(shards: Path, tmp_path: Path) -> None:
    code, _, _ = run(
        "clean",
        f"source.uri={shards / 'parquet'}",
        f"sink.uri={tmp_path / 'out'}",
        "sink=parquet",
        "max_reject_share=0.2",
    )
    assert code == 0
    rows = index(tmp_path / "out")
    tables = [pq.read_table(path) for path in sorted((tmp_path / "out/rendered/filled").glob("*.parquet"))]
    assert sum(table.num_rows for table in tables) == len([r for r in rows.values() if r["status"] != "rejected"])
    assert {"key", "image", "caption"} <= set(tables[0].column_names)
    assert any(r["status"] == "written" for r in rows.values())


def test_annotate_finds_things_and_renders_nothing(shards: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    code, _, _ = run("annotate", f"source.uri={shards / 'webdataset'}", f"sink.uri={out}", "max_reject_share=0.2")
    assert code == 0
    masks = [row for path in sorted((out / "masks").glob("*.parquet")) for row in pq.read_table(path).to_pylist()]
    assert {row["label"] for row in masks} == {"face", "text", "salient"}
    assert not (out / "rendered").exists()


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["source.uri=/nowhere/at/all"], "/nowhere/at/all"),
        (["source.uri={tmp}/empty"], "empty"),
        (["source.uri={shards}/parquet", "source=parquet", "source.image_column=photo"], "image"),
        (["source.uri={shards}/folder", "fill=solidd"], "fill=solid"),
        (["source.uri={shards}/folder", "segment.faces.model.sha256=" + "0" * 64], "sha256"),
    ],
)
@pytest.mark.promise("A run that cannot work is refused in one line and writes nothing")
def test_a_run_that_cannot_work_is_refused_in_one_line_and_writes_nothing(
    overrides: list[str], expected: str, shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    filled_in = [o.format(tmp=tmp_path, shards=shards) for o in overrides]
    assert main("anonymize", [*filled_in, f"sink.uri={tmp_path / 'out'}", "execute=local"]) == 2
    message = capsys.readouterr().err
    assert expected in message
    assert message.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_help_names_every_choice_and_cfg_shows_the_config(capsys: pytest.CaptureFixture[str]) -> None:
    assert main("clean", ["--help"]) == 0
    page = capsys.readouterr().out
    for group, choices in build.groups().items():
        assert f"{group}:" in page
        for choice, about in choices.items():
            assert choice in page
            assert about in page
    assert main("clean", ["source.uri=x", "sink.uri=y", "fill=solid", "--cfg", "job"]) == 0
    assert "pipeline.fill.solid.Solid" in capsys.readouterr().out
