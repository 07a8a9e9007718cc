"""A head and two workers in networks of their own, submitted to from a fourth: a lost node costs nothing but time."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes import ray_nodes
from tests.fakes.drawn_images import folder_of
from tests.fakes.job_run import run
from tests.fakes.published_output import commits, published
from tests.fakes.ray_nodes import Nodes

ROOT = Path(__file__).parents[2]
SLOW = [
    "segment=[faces]",
    "plugins=[tests]",
    "segment.faces._target_=tests.fakes.slow_stages.SlowFaces",
    "source.unit_images=2",
]

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(600)]


@pytest.fixture
def nodes() -> Iterator[Nodes]:
    if why := ray_nodes.missing():
        pytest.skip(why)
    with ray_nodes.serve(workers=2) as started:
        yield started


def test_a_run_from_outside_outlives_a_node_and_writes_the_undisturbed_bytes(nodes: Nodes, tmp_path: Path) -> None:
    source, out = folder_of(tmp_path / "in", range(32)), tmp_path / "out"
    command = [*nodes.places[-1], sys.executable, "-m", "jobs", "submit", "annotate", str(source), str(out)]
    command += ["cluster=ray", f"cluster.address={nodes.head.address}", *SLOW, "+segment.faces.seconds=1.5"]
    environment = {**os.environ, **nodes.head.environment(), "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        command, cwd=tmp_path, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    deadline = time.monotonic() + 200
    while commits(str(out)) < 3 and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.1)
    nodes.kill_worker(2)
    assert 0 < commits(str(out)) < 16, "\n".join(process.communicate() if process.poll() is not None else ())
    words, errors = process.communicate(timeout=400)
    assert process.returncode == 0, (words, errors)
    assert (out / "_run/SUCCESS.json").exists()
    run("annotate", source, tmp_path / "here", "execute=local", *SLOW)
    assert published(str(out)) == published(str(tmp_path / "here"))
