"""segfill submit ... cluster=ray on a real Ray with its Jobs API: the run is the one that this machine would do."""

import io
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from tests.fakes.drawn_images import drawing
from tests.fakes.job_run import run
from tests.fakes.published_output import commits, published
from tests.fakes.ray_head import Head, kill, serve
from tests.fakes.tar_samples import tar_of

ROOT = Path(__file__).parents[2]
SLOW = [
    "segment=[faces]",
    "plugins=[tests]",
    "segment.faces._target_=tests.fakes.slow_stages.SlowFaces",
    "+segment.faces.seconds=0.5",
    "source.unit_images=4",
]


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    with serve() as started:
        yield started


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sources") / "it's, [one] #1"
    folder.mkdir()
    for shard in range(2):
        members = [(f"{shard}-{number:02}.jpg", jpeg(12 * shard + number)) for number in range(12)]
        members[3] = (members[3][0], members[3][1][:400])  # cut: the run ends with exit code 3
        (folder / f"{shard}.tar").write_bytes(tar_of(members))
    return folder


def jpeg(seed: int) -> bytes:
    out = io.BytesIO()
    Image.fromarray(drawing(seed, 48, 64)[0]).save(out, "JPEG")
    return out.getvalue()


def submit(head: Head, source: Path, out: Path, *more: str) -> subprocess.Popen[str]:
    """A submit of another process; it stands in a folder where nothing of ours is."""
    command = [sys.executable, "-m", "jobs", "submit", "annotate", str(source), str(out)]
    command += ["cluster=ray", f"cluster.address={head.address}", *SLOW, *more]
    environment = {**os.environ, **head.environment(), "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        command, cwd=out.parent, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def said(process: subprocess.Popen[str], pattern: str) -> str:
    """The first line of its output that fits."""
    assert process.stdout is not None
    for line in process.stdout:
        if re.search(pattern, line):
            return line
    raise AssertionError(f"it ended without {pattern!r}: {process.communicate()[1]}")


def test_the_same_output_is_attached_to_and_ctrl_c_detaches(head: Head, shards: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = submit(head, shards, out)
    started = said(first, r"^started segfill-\w+-\w+-1 at ").split()[1]

    second = submit(head, shards, out)
    assert said(second, r"^attached to").split()[2] == started
    said(second, "0.1 images/s|annotate: 2 shards")  # the driver's own words

    first.send_signal(signal.SIGINT)
    words, _ = first.communicate(timeout=60)
    assert first.returncode == 130
    assert f"ray job stop {started} --address {head.address}" in words
    assert "the same command attaches again" in words

    other = submit(head, shards, out, "select.dilate_px=7")
    _, errors = other.communicate(timeout=60)
    assert other.returncode == 2
    assert f"another run writes there now ({started} at" in errors

    words, errors = second.communicate(timeout=240)
    assert (second.returncode, "2 of 24 images were rejected (8.3%)" in words) == (3, True), (words, errors)
    ended = run("annotate", shards, tmp_path / "here", "execute=local", *SLOW[:3], "source.unit_images=4")
    assert ended.code == 3
    assert published(str(out)) == published(str(tmp_path / "here"))


@pytest.mark.chaos
def test_a_stopped_run_is_no_success_and_resumes(head: Head, shards: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    process = submit(head, shards, out)
    started = said(process, r"^started").split()[1]
    deadline = time.monotonic() + 120
    while not commits(str(out)) and time.monotonic() < deadline:
        time.sleep(0.1)
    stop = [str(Path(sys.executable).parent / "ray"), "job", "stop", started, "--address", head.address]
    subprocess.run(stop, env={**os.environ, **head.environment()}, check=True, capture_output=True, timeout=60)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert f"{started} is STOPPED" in errors
    assert not (out / "_run/SUCCESS.json").exists()
    for number, word in ((2, "resuming"), (3, "nothing left to do")):
        again = submit(head, shards, out)
        words, errors = again.communicate(timeout=240)
        assert again.returncode == 3, (words, errors)
        assert re.search(rf"^started {started.rpartition('-')[0]}-{number} at", words, re.MULTILINE)
        assert word in words
    assert (out / "_run/SUCCESS.json").exists()


@pytest.mark.chaos
def test_another_token_is_one_line(head: Head, shards: Path, tmp_path: Path) -> None:
    process = submit(Head(address=head.address, token="0" * 32), shards, tmp_path / "out")
    _, errors = process.communicate(timeout=60)
    lines = [line for line in errors.splitlines() if line.startswith("submit:")]
    assert (process.returncode, len(lines)) == (2, 1)
    assert f"{head.address} does not take our token; set RAY_AUTH_MODE=token" in lines[0]
    assert not (tmp_path / "out").exists()


@pytest.mark.chaos
def test_a_lost_head_is_one_line_within_15_seconds(shards: Path, tmp_path: Path) -> None:
    with serve() as head:
        process = submit(head, shards, tmp_path / "out")
        said(process, "^annotate: 2 shards")
        killed = time.monotonic()
        kill(head.pid)
        _, errors = process.communicate(timeout=60)
    assert time.monotonic() - killed < 20  # 5 of them are the test's own: a busy machine, and the interpreter's exit
    assert process.returncode == 1
    lines = [line for line in errors.splitlines() if line.startswith("submit:")]
    assert len(lines) == 1
    assert f"{head.address} does not answer any more" in lines[0]
    assert not (tmp_path / "out/_run/SUCCESS.json").exists()
