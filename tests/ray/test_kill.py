"""A driver killed with SIGKILL in the middle of a run: the same command again ends with the undisturbed bytes."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from jobs.demo_shards import build_bench
from pipeline.storage.store import open_store
from tests.fakes.published_output import commits, published, totals
from tests.fakes.s3_server import S3

IMAGES = 48


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kill")
    build_bench(folder, IMAGES, loose=False)
    return folder / "shards"


def start(source: str, out: str, executor: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "jobs.anonymize", f"source.uri={source}", f"sink.uri={out}"]
    command += [f"execute={executor}", "source.unit_images=6", "sink=files", "max_reject_share=0.5", "audit=none"]
    command += ["segment.faces.thorough=false"]  # a sixth of the time; what is tested does not depend on it
    return subprocess.Popen(
        command,
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def killed_in_the_middle(source: str, out: str, executor: str) -> int:
    """Kill the driver after its first commit. Returns the number of commits then: at least one, not all."""
    process = start(source, out, executor)
    deadline = time.monotonic() + 120
    while not commits(out) and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    return commits(out)


@pytest.mark.parametrize(
    ("executor", "where"),
    [
        ("local", "disk"),
        ("processes", "disk"),
        ("ray", "s3"),
        pytest.param("local", "s3", marks=pytest.mark.chaos),
        pytest.param("ray", "disk", marks=pytest.mark.chaos),
    ],
)
@pytest.mark.promise("A run killed with SIGKILL resumes to the bytes of an undisturbed one: 0 lost, 0 doubled")
def test_a_killed_run_ends_with_the_bytes_of_an_undisturbed_one(
    where: str,
    executor: str,
    shards: Path,
    tmp_path: Path,
    s3: S3,
) -> None:
    quiet, killed = (
        (s3.uri(f"{executor}-quiet"), s3.uri(f"{executor}-killed"))
        if where == "s3"
        else (str(tmp_path / "quiet"), str(tmp_path / "killed"))
    )
    assert start(str(shards), quiet, "local").wait() == 0
    stood = killed_in_the_middle(str(shards), killed, executor)
    assert 0 < stood < IMAGES / 6
    again = start(str(shards), killed, executor)
    said, complaint = again.communicate()
    assert again.returncode == 0, complaint
    assert "resuming" in said
    assert totals(killed) == totals(quiet)
    assert totals(killed)["images"] == IMAGES
    assert published(killed) == published(quiet)
    assert not [entry.path for entry in open_store(killed).list("_staged")]
