"""Under Ray too a run shows the images that its workers see, and nothing of Ray's own reaches the screen."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.fakes import terminal

SLOW = (
    "plugins=[tests]", "segment=[faces]", "segment.faces._target_=tests.fakes.slow_stages.SlowFaces", "execute=ray",
    "execute.cpus=2", "execute.store_mib=128", "source.unit_images=20", "chunk=2",
)  # fmt: skip


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for number in range(60):
        pixels = np.random.default_rng(number).integers(0, 255, (48, 48, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:02}.png")
    return folder


def test_images_show_before_their_unit_is_committed(photos: Path, tmp_path: Path) -> None:
    shown = terminal.run("annotate", str(photos), f"{tmp_path}/out", *SLOW, "+segment.faces.seconds=0.3")
    assert shown.code == 0, shown.text
    for sign in (r"starting Ray  ", r"starting workers, which load their models  ", r"60 images \(100%\)  "):
        assert any(re.match(sign, line) for line in shown.lines), (sign, shown.lines)
    seen = {int(match[1]) for line in shown.lines if (match := re.match(r"(\d+) of 60 images", line))}
    assert min(seen) < 20
    assert len(seen) > 3  # more than the number of units
    assert "raylet" not in shown.text


def test_ctrl_c_shows_our_line_alone(photos: Path, tmp_path: Path) -> None:
    shown = terminal.run(
        "annotate", str(photos), f"{tmp_path}/out", *SLOW, "+segment.faces.seconds=1.0", interrupt_at=" of 60 images"
    )
    assert shown.code == 130, shown.text
    after = shown.text.partition("^C")[2]
    lines = [line for line in re.split(r"[\r\n]+", re.sub(r"\x1b\[\d*[a-zA-Z]", "", after)) if line.strip()]
    assert lines[-1] == "annotate: interrupted; the same command resumes the run"
    assert all(re.match(r"\d+ of 60 images  |stopping Ray  ", line) for line in lines[:-1]), lines


def test_a_worker_that_dies_is_told_by_us_alone(photos: Path, tmp_path: Path) -> None:
    """Ray says "(raylet) A worker died or was killed", whatever log_to_driver says; the row in the index is ours."""
    (tmp_path / "in").mkdir()
    for name in ("00.png", "segfault.png"):
        (tmp_path / "in" / name).write_bytes((photos / "00.png").read_bytes())
    deadly = ("decode._target_=tests.fakes.deadly_stages.DeadlyDecode", "max_reject_share=1.0")
    shown = terminal.run("annotate", f"{tmp_path}/in", f"{tmp_path}/out", *SLOW, *deadly)
    assert shown.code == 0, shown.text
    assert "decode: killed_worker 1" in shown.text
    assert "raylet" not in shown.text
