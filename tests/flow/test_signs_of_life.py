"""Whoever watches a run on a terminal sees that it lives: its phase, then the images, then the audit."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.fakes import terminal

SLOW = (
    "plugins=[tests]", "segment=[faces]", "segment.faces._target_=tests.fakes.slow_stages.SlowFaces", "execute=local",
)  # fmt: skip


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for number in range(30):
        pixels = np.random.default_rng(number).integers(0, 255, (64, 64, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:02}.png")
    return folder


def test_a_run_is_never_silent_on_a_terminal(photos: Path, tmp_path: Path) -> None:
    shown = terminal.run(
        "anonymize", str(photos), f"{tmp_path}/out", *SLOW, "+segment.faces.seconds=0.3", "source.unit_images=10",
        "chunk=5", "audit.sample=3",
    )  # fmt: skip
    assert shown.code == 3, shown.text  # this segmenter finds no canary
    for sign in (
        r"starting  [\d.]+ s",
        r"anonymize: 3 shards, ",
        r"loading models  [\d.]+ s",
        r"reading the first images  [\d.]+ s",
        r"5 of 30 images  [\d.]+ images/s  0 rejected  time left: not known yet",
        r"\d+ of 30 images  .*  about .* left",
        r"30 images \(100%\)  .*  took ",
        r"auditing 1 of 3 published images",
        r"auditing 3 of 3 published images",
        r"making the report",
    ):
        assert any(re.match(sign, line) for line in shown.lines), (sign, shown.lines)
    seen = [int(match[1]) for line in shown.lines if (match := re.match(r"(\d+) of 30 images", line))]
    assert seen == sorted(seen)
    assert {5, 15, 25} <= set(seen)  # and not only what is committed: 10, 20, 30
    assert shown.longest_silence < 20.0  # 0.6 s on a machine that has nothing else to do


def test_ctrl_c_leaves_one_line(photos: Path, tmp_path: Path) -> None:
    shown = terminal.run(
        "annotate", str(photos), f"{tmp_path}/out", *SLOW, "+segment.faces.seconds=0.5", "chunk=2",
        interrupt_at=" of 30 images",
    )  # fmt: skip
    assert shown.code == 130
    assert shown.lines[-1] == "annotate: interrupted; the same command resumes the run"
    assert "Traceback" not in shown.text


def test_an_audit_and_an_estimate_say_how_far_they_are(photos: Path, tmp_path: Path) -> None:
    made = terminal.run("anonymize", str(photos), f"{tmp_path}/out", *SLOW, "audit=none")
    assert made.code == 0, made.text
    audited = terminal.run("audit", f"{tmp_path}/out", "sample=4", "min_face_px=60")
    assert [line for line in audited.lines if line.startswith("auditing 4 of 4 published images")]
    verified = terminal.run("verify", f"{tmp_path}/out")
    assert [line for line in verified.lines if line.startswith(f"verifying {tmp_path}/out")]
    assert "as it was written" in verified.text
    measured = terminal.run("estimate", "annotate", str(photos), *SLOW, "sample=4")
    assert [line for line in measured.lines if line.startswith("measuring: 4 of 4 images")]
