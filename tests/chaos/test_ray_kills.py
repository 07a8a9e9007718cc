"""SIGKILL of drivers, workers and whole nodes of a Ray cluster: the run ends with the undisturbed bytes, by itself or
after the same command again."""

import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.fakes.crash_points import DRIVER, WORKER, Trap, sprung
from tests.fakes.driver_processes import PATIENCE, UNITS, Driver, arguments, fault, finished
from tests.fakes.output_reader import Reader
from tests.fakes.published_output import commits
from tests.fakes.ray_cluster import LOOPBACK, Nodes, running
from tests.fakes.s3_server import S3

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(900)]

POINT = "Killed at a named point, a run resumes to the bytes of an undisturbed one: 0 lost, 0 doubled"
RANDOM = "Random kills of drivers, workers and whole nodes: the run resumes to the undisturbed bytes"


@pytest.fixture(scope="module")
def nodes(s3: S3, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    with running(tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


def command(source: Path, out: str, nodes: Nodes, layout: str = "ray") -> list[str]:
    return arguments(source, out, f"execute={layout}", f"execute.address={nodes.address}", "execute.workers=2")


def place(number: int, tmp_path: Path, s3: S3) -> str:
    return str(tmp_path / "out") if number % 2 else str(s3.uri(tmp_path.name))


@pytest.mark.promise(POINT)
@pytest.mark.parametrize("where", [0, 1])
@pytest.mark.parametrize("point", WORKER)
def test_workers_killed_at_a_point_for_three_units(
    point: str,
    where: int,
    source: Path,
    quiet: dict[str, str],
    nodes: Nodes,
    tmp_path: Path,
    s3: S3,
    record_property: Callable[[str, object], None],
) -> None:
    """All three in one run, which survives them."""
    record_property("tried", 3)
    out, traps = place(where, tmp_path, s3), tmp_path / "traps"
    environment = nodes.set(Trap(point, (1, 3, 5)), traps)
    driver = Driver(command(source, out, nodes), environment)
    assert driver.wait() == 0, driver.said()
    assert len(sprung(traps)) == 3
    assert driver.pid not in sprung(traps)
    assert fault(out, quiet) == ""
    record_property("held", 3)


@pytest.mark.promise(POINT)
@pytest.mark.parametrize(("number", "point"), list(enumerate([*WORKER, *DRIVER])))
def test_the_driver_killed_at_a_point(
    number: int,
    point: str,
    source: Path,
    quiet: dict[str, str],
    nodes: Nodes,
    tmp_path: Path,
    s3: S3,
) -> None:
    """At its own points and at those of its workers, which may outlive it briefly."""
    out, traps = place(number, tmp_path, s3), tmp_path / "traps"
    environment = nodes.set(Trap(point, (3,) if point in WORKER else (1,), "driver"), traps)
    assert finished(command(source, out, nodes), environment) == 1
    assert len(sprung(traps)) == 1
    assert fault(out, quiet) == ""


@pytest.mark.promise(RANDOM)
@pytest.mark.parametrize("seed", range(50))
def test_a_random_kill(seed: int, source: Path, quiet: dict[str, str], nodes: Nodes, tmp_path: Path, s3: S3) -> None:
    draw = random.Random(seed)
    victim, layout = ("driver", "worker", "node")[seed % 3], draw.choice(["ray", "ray", "staged"])
    when, later = draw.randrange(UNITS), draw.random()
    print(f"seed {seed}: kills a {victim} of {layout} {later:.2f} s after {when} commits")  # shown with a failure
    nodes.unset()
    out = place(seed, tmp_path, s3)
    driver = Driver(command(source, out, nodes, layout), LOOPBACK)
    deadline, killed = time.monotonic() + PATIENCE, False
    while commits(out) < when and driver.process.is_alive() and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(later)
    while not killed and driver.process.is_alive() and time.monotonic() < deadline:
        if victim == "worker":
            killed = nodes.kill_worker(draw)
        else:
            os.kill(driver.pid, signal.SIGKILL) if victim == "driver" else nodes.kill_node(draw)
            killed = True
        time.sleep(0.02)
    for _ in range(3):
        code = driver.wait()
        if code == 0:
            break
        print(f"exit code {code}: {driver.said()}")
        assert code == -signal.SIGKILL or "the same command resumes" in driver.said()
        driver = Driver(command(source, out, nodes, layout), LOOPBACK)
    assert code == 0
    assert fault(out, quiet) == ""


@pytest.mark.promise("Two drivers on one output: one commit a unit, readers never see a mixed or missing file")
@pytest.mark.parametrize("layout", ["ray", "staged"])
def test_a_driver_on_ray_and_one_without(
    layout: str, source: Path, quiet: dict[str, str], nodes: Nodes, tmp_path: Path
) -> None:
    nodes.unset()
    out = str(tmp_path / "out")
    with Reader(out) as reader:
        drivers = [Driver(command(source, out, nodes, layout), LOOPBACK)]
        while not os.path.exists(f"{out}/_attempt") and drivers[0].process.is_alive():
            time.sleep(0.02)
        drivers.append(Driver(arguments(source, out)))
        assert [driver.wait() for driver in drivers] == [0, 0], [driver.said() for driver in drivers]
    assert reader.faults == []
    assert reader.reads > 1
    assert fault(out, quiet) == ""
