"""Whole runs over folders as people have them: what is not read is told, one bad object is one row."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pipeline.errors import OutputError, SourceError
from pipeline.ledger.verify import check
from pipeline.storage.store import open_store
from tests.fakes.drawn_images import folder_of
from tests.fakes.job_run import Ended, run
from tests.fakes.published_output import published, rows


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four drawings, one of them without a suffix, and a caption."""
    folder = folder_of(tmp_path / "in", range(4))
    (folder / "3.png").rename(folder / "noext")
    (folder / "0.txt").write_text("a drawing")
    return folder


def annotate(source: Path | str, out: Path, *more: str) -> Ended:
    return run("annotate", source, out, "segment=[faces]", "execute=local", "segment.faces.thorough=false", *more)


def members(out: Path) -> dict[str, str]:
    return {row["member"]: row["reason"] or row["status"] for row in rows(out, "images")}


@pytest.mark.promise("What a source holds and does not read is counted by kind, before and after the run")
@pytest.mark.parametrize("choice", ["auto", "files"])
def test_what_is_not_read_is_told(choice: str, folder: Path, tmp_path: Path) -> None:
    (folder / "a.tga").write_bytes(b"\0\0\2\0")
    (folder / "b.zip").write_bytes(b"PK\3\4")
    (folder / "c.xml").write_bytes(b"<a/>")
    (folder / "_SUCCESS").write_bytes(b"")
    done = annotate(folder, tmp_path / "out", f"source={choice}")
    assert done.code == 0
    assert members(tmp_path / "out") == dict.fromkeys(("0.png", "1.png", "2.png", "noext"), "unchanged")
    told = "TGA 1, ZIP 1, other (.xml) 1"
    assert done.out.splitlines()[1] == f"3 files not read: {told}"
    assert any(line.split() == ["not", "read", "3", *told.split()] for line in done.out.splitlines())
    assert f"3 files not read: {told}" in (tmp_path / "out/report/index.html").read_text()
    again = annotate(folder, tmp_path / "out", f"source={choice}", "source.unread=ignore")
    assert (again.code, "not read" in again.out) == (0, False)  # and still the same run


@pytest.mark.promise("anonymize does not start where images, or files that may hold some, would be passed over")
def test_anonymize_refuses_to_pass_over_images(folder: Path, tmp_path: Path) -> None:
    more = ("execute=local", "audit=none", "segment.faces.thorough=false")
    (folder / "notes.txt").write_text("no image")
    assert run("anonymize", folder, tmp_path / "texts", *more).code == 0
    (folder / "a.psd").write_bytes(b"8BPS")
    with pytest.raises(SourceError, match=r"which are not read \(PSD 1\); convert, unpack or move them"):
        run("anonymize", folder, tmp_path / "out", *more)
    assert not (tmp_path / "out").exists()
    assert run("anonymize", folder, tmp_path / "out", *more, "source.unread=warn").code == 0


@pytest.mark.promise("One object that cannot be read is one rejected row, and the rest of the run goes on")
def test_each_bad_name_is_one_row(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = (folder / "0.png").read_bytes()
    with open(os.fsencode(folder) + b"/caf\xe9.png", "wb") as file:
        file.write(data)
    (folder / "closed.png").write_bytes(data)
    (folder / "gone.png").symlink_to("nowhere")
    (folder / "new\nline.png").write_bytes(data)
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, *a, **b: not path.endswith("closed.png") and access(path, *a, **b))
    done = annotate(folder, tmp_path / "out")
    assert done.code == 3
    assert members(tmp_path / "out") == {
        **dict.fromkeys(("0.png", "1.png", "2.png", "noext"), "unchanged"),
        "caf\\xe9.png": "bad_name",
        "closed.png": "no_read_right",
        "gone.png": "dangling_link",
        "new\nline.png": "unsafe_name",
    }
    assert annotate(folder, tmp_path / "out", "max_reject_share=0.5").code == 0


@pytest.mark.promise("An output of Segfill is never read as input")
def test_an_output_below_its_source_is_not_read(folder: Path, tmp_path: Path) -> None:
    more = ("sink=files", "fill=solid", "render=filled", "select.max_share=1")
    for out in ("out", "deep/out2"):
        done = annotate(folder, folder / out, *more)
        assert (done.code, len(members(folder / out))) == (0, 4)
    again = annotate(folder, folder / "out", *more)
    assert (again.code, "nothing left to do" in again.out) == (0, True)
    assert "2 outputs of Segfill below it are not read" in again.out
    assert set(members(folder / "out")) == set(members(folder / "deep/out2"))
    with pytest.raises(SourceError, match="is an output of Segfill"):
        annotate(folder / "out", tmp_path / "out3")
    assert annotate(folder / "out/rendered/filled", tmp_path / "out3").code == 0


@pytest.mark.parametrize("sink", ["in", ".", "in/../in", "link", "in/sub/.."])
def test_a_sink_that_holds_its_source_is_refused(sink: str, folder: Path, tmp_path: Path) -> None:
    (folder / "sub").mkdir()
    (tmp_path / "link").symlink_to(folder)
    before = sorted(tmp_path.rglob("*"))
    for source in (folder, tmp_path / "link", f"{folder}/*.png", folder / "0.png"):
        with pytest.raises(OutputError, match=r"is the source itself|holds the source"):
            annotate(source, tmp_path / sink)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.promise("A run with a limit does the first images, and the same command without it does the rest")
def test_a_first_look_is_resumed_to_the_whole(demo_shards: Path, tmp_path: Path) -> None:
    more = ("sink=files", "fill=solid", "render=filled", "select.max_share=1", "source.unit_images=5")
    source, look, whole = demo_shards / "webdataset", tmp_path / "look", tmp_path / "whole"
    first = annotate(source, look, *more, "limit=7")
    assert first.code == 0
    assert "; the first 7 images only" in first.out.splitlines()[0]
    assert "7 images done; the same command without limit does the rest" in first.out
    assert any(line.split() == ["report", f"{look}/report/first_look.html"] for line in first.out.splitlines())
    assert not (look / "_run/SUCCESS.json").exists()
    assert [(look / row["output"]).is_file() for row in rows(look)] == [True] * 7
    again = annotate(source, look, *more, "limit=7")
    assert "nothing left to do" in again.out
    rest = annotate(source, look, *more)
    assert "resuming: 7 images were committed before" in rest.out
    assert annotate(source, whole, *more).code == rest.code == 3  # one of the images is broken
    assert (look / "_run/SUCCESS.json").exists()
    assert not (look / "report/first_look.html").exists()
    assert members(look) == members(whole)
    pictures = [
        {path: sha256 for path, sha256 in published(str(out)).items() if path.startswith("rendered/")}
        for out in (look, whole)
    ]
    assert pictures[0] == pictures[1]
    assert list(check(open_store(str(look)))) == []


@pytest.mark.promise("Several sources are one run, and each image keeps a place of its own")
def test_a_list_on_the_command_line_is_one_run(tmp_path: Path) -> None:
    folder_of(tmp_path / "in/a", range(2))
    folder_of(tmp_path / "in/b, c", range(2, 5))
    ended = annotate(f"[{tmp_path}/in/a,'{tmp_path}/in/b, c']", tmp_path / "out")
    assert ended.code == 0
    assert sorted(members(tmp_path / "out")) == ["a/0.png", "a/1.png", "b, c/2.png", "b, c/3.png", "b, c/4.png"]
