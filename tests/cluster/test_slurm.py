"""segfill submit ... cluster=slurm on a real Slurm of two nodes."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.entry import segfill
from tests.fakes import slurm as slurms
from tests.fakes.drawn_images import folder_of
from tests.fakes.job_run import run
from tests.fakes.published_output import commits, published
from tests.fakes.slurm import NODES, Slurm

ROOT = Path(__file__).parents[2]
SLOW = [
    "segment=[faces]",
    "plugins=[tests]",
    "segment.faces._target_=tests.fakes.slow_stages.SlowFaces",
    "source.unit_images=2",
]
LONG = ["+segment.faces.seconds=3", "max_reject_share=0.01"]
SITE = [
    "cluster.setup=['export RAY_worker_niceness=0']",
    "cluster.ray_start=['--node-ip-address=127.0.0.1','--object-store-memory=80000000']",
]
"""Both nodes have one address, and the network has no other."""


@pytest.fixture(scope="module")
def slurm() -> Iterator[Slurm]:
    if why := slurms.missing():
        pytest.skip(why)
    with slurms.serve() as started:
        yield started


def test_slurm_takes_the_script(slurm: Slurm, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every line of it: `sbatch --test-only` asks the controller, and starts nothing."""
    file = tmp_path / "run.sbatch"
    keys = ["nodes=2", "cpus=2", "memory_gib=1", "time=1:00:00", "partition=all", f"file={file}", f"logs={tmp_path}"]
    arguments = ["annotate", "s3://b/in", "s3://b/o'ut $HOME", "cluster=slurm", *(f"cluster.{key}" for key in keys)]
    assert segfill(["submit", *arguments]) == 0
    assert f"sbatch {file} starts the run" in capsys.readouterr().out
    subprocess.run(["bash", "-n", str(file)], check=True)
    slurm("sbatch", "--test-only", str(file))
    assert slurm("squeue", "--noheader") == ""
    refused = file.read_text().replace("--cpus-per-task=2", "--cpus-per-task=3")
    with pytest.raises(subprocess.CalledProcessError):  # so it does look
        slurm("sbatch", "--test-only", given=refused)


def submit(slurm: Slurm, source: Path, out: Path, *more: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "jobs", "submit", "annotate", str(source), str(out), "cluster=slurm"]
    command += ["cluster.apply=true", f"cluster.nodes={len(NODES)}", f"cluster.logs={out.parent}", *SITE]
    environment = {**os.environ, **slurm.environment(), "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [*slurm.prefix, *command, *SLOW, *more], cwd=out.parent, env=environment, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )  # fmt: skip


@pytest.mark.chaos
@pytest.mark.timeout(900)
def test_a_job_on_two_nodes_is_requeued_once_resumes_and_keeps_its_exit_code(slurm: Slurm, tmp_path: Path) -> None:
    source, out = folder_of(tmp_path / "in", range(24)), tmp_path / "out"
    (source / "cut.jpg").write_bytes(b"\xff\xd8\xff\xe0 cut")
    first = submit(slurm, source, out, *LONG)
    deadline = time.monotonic() + 300
    while commits(str(out)) < 2 and time.monotonic() < deadline and first.poll() is None:
        time.sleep(0.2)
    assert 0 < commits(str(out)) < 12, first.communicate() if first.poll() is not None else ""
    job = slurm("squeue", "--noheader", "--format=%i").strip()
    for more, code, expected in (
        (["cluster.follow=false"], 130, f"attached to job {job}"),
        (["select.dilate_px=7"], 2, f"another run writes there now (job {job})"),
    ):
        other = submit(slurm, source, out, *LONG, *more)
        assert expected in "".join(other.communicate(timeout=120))
        assert other.returncode == code
    slurm("scontrol", "requeue", job)  # as a preemption does
    words, errors = first.communicate(timeout=600)
    assert first.returncode == 3, (words, errors)
    assert f"submitted job {job}" in words
    assert len(re.findall(r"^submit: 2 of 2 nodes at 127\.0\.0\.1:", words, re.MULTILINE)) == 2
    assert re.search("resuming: [1-9][0-9]* images were committed before", words)
    assert "1 of 25 images were rejected" in words
    assert (out / "_run/SUCCESS.json").exists()
    run("annotate", source, tmp_path / "here", "execute=local", *SLOW)
    assert published(str(out)) == published(str(tmp_path / "here"))
