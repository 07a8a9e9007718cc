"""segfill watch and segfill status, on disk and on S3."""

import threading
import time
from pathlib import Path

import pytest

from jobs.entry import segfill
from tests.fakes.drawn_images import folder_of
from tests.fakes.job_run import run
from tests.fakes.s3_server import S3

KEYS = [
    "segment=[faces]",
    "plugins=[tests]",
    "segment.faces._target_=tests.fakes.slow_stages.SlowFaces",
    "execute=local",
    "source.unit_images=2",
]
"""Without a model."""


@pytest.fixture(params=["disk", "s3"])
def out(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "disk":
        return str(tmp_path / "out")
    s3: S3 = request.getfixturevalue("s3")
    return s3.uri(f"watch-{tmp_path.name}")


def test_status_says_how_far_it_is_and_watch_ends_with_the_run(
    out: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = folder_of(tmp_path / "in", range(6), 48, 64)
    assert segfill(["status", out]) == 2
    assert "no run has begun there" in capsys.readouterr().err

    run("annotate", source, out, *KEYS, "limit=2")
    for words in (["status", out, "seconds=0"], ["watch", out, "--once", "seconds=0.2"]):
        assert segfill(words) == 1
        said = capsys.readouterr().out.splitlines()
        assert said[0].startswith("annotate, not finished: 1 of 3 shards, 1 units committed")
        assert said[1].startswith("images     2: 2 written, 0 unchanged, 0 rejected, 0.0%")
    assert "nothing was committed meanwhile" in said[2]

    def finish() -> None:
        time.sleep(0.5)
        run("annotate", source, out, *KEYS)

    thread = threading.Thread(target=finish)
    thread.start()
    assert segfill(["watch", out, "seconds=0.2"]) == 0
    thread.join()
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("annotate, not finished")
    assert [line for line in said if line.startswith("annotate, finished: 3 of 3 shards, 3 units committed")]
    assert segfill(["status", out]) == 0
