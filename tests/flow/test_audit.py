"""The privacy receipt passes a sound run and fails one that leaks: a face, a tag."""

import io
import json
import shutil
import tarfile
from pathlib import Path

import pytest
from PIL import Image

from jobs import audit
from jobs.entry import main
from pipeline.formats import read_header
from pipeline.strip import strip
from tests.planted import jpeg, photo, png, saved, tiff


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An anonymize run over faces at several sizes and a cup, into Parquet; tars and loose files join it below."""
    root = tmp_path_factory.mktemp("run")
    (root / "in").mkdir()
    files = {
        "face.jpg": jpeg(photo()),
        "turned.jpg": jpeg(photo().transpose(Image.Transpose.ROTATE_90), orientation=6),
        "small.png": png(photo().resize((150, 150))),
        "deflated.tif": saved(photo(), "TIFF", compression="tiff_adobe_deflate"),
        "lossy.webp": saved(photo(), "WEBP", quality=80),
        "cup.png": png(photo("coffee.png")),
    }
    for name, data in files.items():
        (root / "in" / name).write_bytes(data)
    arguments = [f"source.uri={root / 'in'}", f"sink.uri={root / 'out'}", "sink=parquet", "execute=local"]
    assert main("anonymize", arguments) == 0
    return root


def receipt(out: Path) -> dict[str, object]:
    return dict(json.loads((out / "audit/receipt.json").read_text()))


def test_a_sound_run_passes(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert audit.main([f"uri={run / 'out'}"]) == 0
    told = receipt(run / "out")
    assert (told["published"], told["audited"]) == (6, 6)
    assert (told["faces"], told["metadata"], told["unreadable"]) == ([], [], [])
    assert told["bound"] == 0.5  # rule of three: 3 of 6
    assert "50.00%" in capsys.readouterr().out


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


@pytest.mark.parametrize(("side", "bucket", "packed"), [(512, "< 128 px", True), (110, "< 32 px", False)])
def test_a_face_that_slipped_through_is_found(
    side: int, bucket: str, packed: bool, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = saved(photo().resize((side, side)), "PNG")
    data = strip(data, read_header(data), keep_icc=False)
    name, body = ("more.tar", tar_of("x.png", data)) if packed else ("x.png", data)
    out = leaked(run, tmp_path / "out", name, body)
    assert audit.main([f"uri={out}"]) == 3
    (face,) = receipt(out)["faces"]  # type: ignore[misc]
    assert "x.png" in face["image"]
    assert receipt(out)["sizes"][bucket] == 1  # type: ignore[index]
    assert "did not pass" in capsys.readouterr().err
    assert audit.main([f"uri={out}", "max_residual=0.2"]) == 0


@pytest.mark.parametrize(
    ("name", "what"), [("m.jpg", "Exif, XMP, IPTC"), ("m.png", "Exif, XMP, text"), ("m.tif", "XMP")]
)
def test_metadata_that_slipped_through_is_found(name: str, what: str, run: Path, tmp_path: Path) -> None:
    picture = photo("coffee.png").resize((200, 133))
    planted = {"m.jpg": jpeg, "m.png": png, "m.tif": tiff}[name](picture)
    out = leaked(run, tmp_path / "out", name, planted)
    assert audit.main([f"uri={out}"]) == 3
    (found,) = receipt(out)["metadata"]  # type: ignore[misc]
    assert found["image"].endswith(name)
    assert found["what"].startswith(what)


def test_an_image_that_cannot_be_read_does_not_pass(run: Path, tmp_path: Path) -> None:
    out = leaked(run, tmp_path / "out", "cut.png", saved(photo(), "PNG")[:5000])
    assert audit.main([f"uri={out}"]) == 3
    assert len(receipt(out)["unreadable"]) == 1  # type: ignore[arg-type]


def test_a_sample_looks_at_that_many(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run / "out", tmp_path / "out")
    assert audit.main([f"uri={tmp_path / 'out'}", "sample=2", "receipt=false"]) == 0
    assert not (tmp_path / "out/audit").exists() or receipt(tmp_path / "out")["audited"] == 6


@pytest.mark.parametrize(
    ("arguments", "code", "expected"),
    [
        (["sample=3"], 2, "audit.uri is required"),
        (["uri={tmp}", "smaple=3"], 2, "did you mean audit.sample?"),
        (["uri={tmp}", "score=2"], 2, "audit.score"),
        (["uri={tmp}"], 1, "no images to audit"),
    ],
)
def test_what_cannot_be_audited_is_refused_in_one_line(
    arguments: list[str], code: int, expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert audit.main([a.format(tmp=tmp_path) for a in arguments]) == code
    message = capsys.readouterr().err
    assert expected in message
    assert message.count("\n") == 1
