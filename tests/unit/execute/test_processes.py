"""A process a core: what happens when workers end, and when the run ends early."""

import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import psutil
import pytest

from pipeline import build, driver
from pipeline.errors import RunError, TooManyRejected
from pipeline.execute import processes
from pipeline.execute.child import Child
from pipeline.execute.processes import cores
from tests.fakes import dying_worker
from tests.fakes.drawn_images import folder_of
from tests.fakes.job_run import run
from tests.fakes.published_output import everything, published, totals

ROOT = Path(__file__).parents[3]
SLOW = ("plugins=[tests]", "segment.faces._target_=tests.fakes.slow_stages.SlowFaces", "audit=none", "sink=files")
TWO = ("execute=processes", "execute.workers=2", "source.unit_images=2")


def workers_of(pid: int) -> list[psutil.Process]:
    return [p for p in psutil.Process(pid).children(recursive=True) if "enter(" in " ".join(p.cmdline())]


def test_cores_are_those_of_this_process() -> None:
    assert cores() == len(os.sched_getaffinity(0)) or Path("/sys/fs/cgroup/cpu.max").read_text()[0] != "m"
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert cores() == 1
    finally:
        os.sched_setaffinity(0, before)


def test_one_image_starts_one_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started = []

    class Counted(Child):
        def __init__(self, target: Callable[[Connection], None]) -> None:
            started.append(target)
            super().__init__(target)

    monkeypatch.setattr(processes, "Child", Counted)
    assert run("anonymize", folder_of(tmp_path / "in", range(1)), tmp_path / "out", *SLOW, *TWO).code == 0
    assert len(started) == 1


def test_workers_that_never_get_ready_end_the_run_with_how_they_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "serve", dying_worker.serve)
    with pytest.raises(RunError, match=r"3 workers in a row ended with exit code 7 before they were ready"):
        run("anonymize", folder_of(tmp_path / "in", range(4)), tmp_path / "out", *SLOW, *TWO)


def test_an_error_of_a_worker_ends_the_run_in_its_own_words(tmp_path: Path) -> None:
    """An image that is no image is a row; a model that cannot be loaded ends the run."""
    broken = ("segment.faces._target_=tests.fakes.dying_worker.UnloadableFaces",)
    with pytest.raises(RunError, match=r"segment: its model cannot be loaded .*no such chip.*the same command resumes"):
        run("anonymize", folder_of(tmp_path / "in", range(4)), tmp_path / "out", *SLOW, *broken, *TWO)


def test_an_error_of_the_source_ends_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = folder_of(tmp_path / "in", range(4))
    config = build.compose("anonymize", [f"source.uri={source}", f"sink.uri={tmp_path / 'out'}", *SLOW, *TWO])
    job = build.build(config)

    def lost(*_: object) -> None:
        raise OSError("the disk is gone")

    monkeypatch.setattr(type(job.flow.source.resolve(job.flow.source.shards())), "units", lost)
    with pytest.raises(RunError, match="the run lost its storage: the disk is gone; the same command resumes it"):
        driver.run(job, io.StringIO(), io.StringIO())


def test_too_many_rejected_images_stop_the_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "in"
    source.mkdir()
    for number in range(40):
        (source / f"{number:03d}.jpg").write_bytes(b"\xff\xd8\xff no image")
    monkeypatch.setattr(driver, "_JUDGED_AFTER", 4)
    with pytest.raises(TooManyRejected):
        run("anonymize", source, tmp_path / "out", *SLOW, *TWO)
    assert workers_of(os.getpid()) == []


@pytest.mark.slow  # it waits for workers of slow images
def test_ctrl_c_leaves_no_attempt_and_no_process_and_a_rerun_ends_the_run(tmp_path: Path) -> None:
    source, out = folder_of(tmp_path / "in", range(12)), tmp_path / "out"
    common = [f"source.uri={source}", *SLOW, *TWO]
    command = [sys.executable, "-m", "jobs.anonymize", *common, f"sink.uri={out}", "+segment.faces.seconds=0.3"]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # ignored where tests run behind &
    )
    deadline = time.monotonic() + 60
    while not list(out.glob("_commit/*")) and time.monotonic() < deadline:
        time.sleep(0.05)
    workers = workers_of(process.pid)
    assert len(workers) == 2
    process.send_signal(signal.SIGINT)
    _, complaint = process.communicate(timeout=60)
    assert process.returncode == 130
    assert complaint.splitlines()[-1] == "anonymize: interrupted; the same command resumes the run"
    assert not [worker for worker in workers if worker.is_running()]
    assert not [path for path in everything(str(out)) if path.startswith("_attempt")]
    settings = ["+segment.faces.seconds=0.3", *SLOW]
    assert run("anonymize", source, out, *settings, *TWO).code == 0
    assert run("anonymize", source, tmp_path / "quiet", *settings, "source.unit_images=2", "execute=local").code == 0
    assert published(str(out)) == published(str(tmp_path / "quiet"))
    assert totals(str(out))["images"] == 12


@pytest.mark.slow  # it waits for workers of slow images
def test_workers_leave_when_their_parent_is_killed(tmp_path: Path) -> None:
    source, out = folder_of(tmp_path / "in", range(12)), tmp_path / "out"
    command = [sys.executable, "-m", "jobs.anonymize", f"source.uri={source}", f"sink.uri={out}", *SLOW, *TWO]
    process = subprocess.Popen([*command, "+segment.faces.seconds=2"], cwd=ROOT, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not list(out.glob("_attempt/*")) and time.monotonic() < deadline:
        time.sleep(0.05)
    workers = workers_of(process.pid)
    assert workers
    process.kill()
    process.wait()
    psutil.wait_procs(workers, timeout=30)
    assert not [worker for worker in workers if worker.is_running()]
