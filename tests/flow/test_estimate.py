"""segfill estimate measures the real stages, names the bottleneck, scales to the whole source, and writes nothing."""

import io
import re
import tarfile
from pathlib import Path

import pytest

from jobs import estimate
from tests.fakes.drawn_images import folder_of

SLEEP = [
    "plugins=[tests]",
    "segment.faces._target_=tests.fakes.slow_stages.SlowFaces",
    "fill._target_=tests.fakes.slow_stages.SlowFill",
]
IMAGE_SECONDS = 0.2


def said(capsys: pytest.CaptureFixture[str], source: Path, *overrides: str) -> str:
    assert estimate.main(["anonymize", f"source.uri={source}", *SLEEP, *overrides]) == 0
    return capsys.readouterr().out


def row(text: str, stage: str) -> float:
    """Milliseconds an image."""
    found = re.search(rf"^{stage} +([\d.]+) ", text, re.MULTILINE)
    assert found, text
    return float(found[1])


@pytest.fixture(scope="module")
def drawings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder_of(tmp_path_factory.mktemp("plan") / "in", range(12))


@pytest.mark.parametrize("stage", ["segment", "fill"])
def test_the_stage_that_sleeps_is_the_bottleneck_and_the_rates_follow_from_it(
    stage: str, drawings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    part = {"segment": "segment.faces", "fill": "fill"}[stage]
    text = said(capsys, drawings, "sample=3", "cores=8", "gpus=0", f"+{part}.seconds={IMAGE_SECONDS}")
    assert f"bottleneck: {stage}, " in text
    assert row(text, stage) >= 1000 * IMAGE_SECONDS
    assert text.startswith("anonymize: 12 images")
    assert "sample: 3 images of 1 shard, 0 rejected, on cpu, 1 thread" in text
    assert "a small sample: 3 images" in text
    rate = float(re.search(r"fused on 8 cores, 0 GPUs: ([\d.]+) images/s", text)[1])  # type: ignore[index]
    assert rate == pytest.approx(8 * 1000 / row(text, "all"), rel=0.02)
    assert not list(tmp_path.iterdir())


def test_nothing_is_written_where_the_run_would_write(
    drawings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(path.name for path in drawings.iterdir())
    said(capsys, drawings, "sample=2", f"sink.uri={tmp_path / 'out'}")
    assert not (tmp_path / "out").exists()
    assert sorted(path.name for path in drawings.iterdir()) == before


def test_tars_are_counted_by_their_bytes(drawings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "in").mkdir()
    one = (drawings / "0.png").read_bytes()
    for shard in range(20):
        with tarfile.open(tmp_path / f"in/{shard:02d}.tar", "w", format=tarfile.USTAR_FORMAT) as tar:
            for number in range(5):
                member = tarfile.TarInfo(f"{shard}-{number}.png")
                member.size = len(one)
                tar.addfile(member, io.BytesIO(one))
    text = said(capsys, tmp_path / "in", "sample=16")
    total = float(re.search(r"about ([\d,]+) images", text)[1].replace(",", ""))  # type: ignore[index]
    assert total == pytest.approx(100, rel=0.1)
    assert "16 images of 8 shards" in text
    assert said(capsys, tmp_path / "in", "sample=16", "seed=0").splitlines()[:2] == text.splitlines()[:2]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ([], "expected a job first (annotate, clean, anonymize), got nothing"),
        (["anonymise"], "got anonymise"),
        (["anonymize", "source.uri=/nowhere", "sample=0"], "sample: expected a whole number of at least 1"),
        (
            ["anonymize", "source.uri=/nowhere", "sample=many"],
            "sample: expected a whole number of at least 1, got 'many'",
        ),
        (["anonymize", "source.uri=/nowhere", "device=tpu"], "device: expected cpu or cuda, got 'tpu'"),
        (["anonymize"], "source.uri is required"),
        (["anonymize", "source.uri=/nowhere", "sampel=3"], "there is no key sampel"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    arguments: list[str], problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert estimate.main(arguments) == 2
    assert problem in capsys.readouterr().err
