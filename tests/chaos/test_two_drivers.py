"""Two drivers of one run on one output: one commit a unit, a sound output at every moment, no harm to either."""

import os
import random
import signal
import time
from pathlib import Path

import pytest

from pipeline.ledger.ledger import Ledger
from pipeline.storage.store import open_store
from tests.fakes.crash_points import DRIVER, ON_DISK, POINTS, WORKER, Trap, sprung
from tests.fakes.driver_processes import PATIENCE, UNITS, Driver, arguments, build, fault, finished
from tests.fakes.output_reader import Reader, seen
from tests.fakes.published_output import published
from tests.fakes.red_segmenter import GROWN
from tests.fakes.s3_server import S3

OVERTAKEN = "Overtaken by another driver wherever it stands, a driver does no harm"
RACE = "Two drivers on one output: one commit a unit, readers never see a mixed or missing file"
OTHER_BYTES = {GROWN: "2"}
SHORT = [
    "in the probe of the store",
    "after upload of the masks",
    "before commit",
    "after commit, before acknowledgement",
    "in verify, after the listing",
    "in finalize, before SUCCESS",
    "before the report's seal",
]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("two") / "shards")


@pytest.fixture(scope="module")
def quiet(source: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The output of an undisturbed run."""
    out = str(tmp_path_factory.mktemp("quiet") / "out")
    assert finished(arguments(source, out)) == 0
    return out


@pytest.fixture(scope="module")
def other(source: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The output of a run with other bytes under the same identity."""
    out = str(tmp_path_factory.mktemp("other") / "out")
    assert finished(arguments(source, out), OTHER_BYTES) == 0
    return out


def overtaken(source: Path, out: str, point: str, hit: int, traps: Path, environment: dict[str, str]) -> None:
    """One driver stops at a point until another one has done the whole run."""
    slow = Driver(arguments(source, out), Trap(point, (hit,), "stopped").set(traps) | environment)
    deadline = time.monotonic() + PATIENCE
    while not (stopped := sprung(traps)):
        assert time.monotonic() < deadline
        assert slow.process.is_alive(), slow.said()
        time.sleep(0.01)
    assert stopped == [slow.pid]
    try:
        assert finished(arguments(source, out)) == 0
        assert seen(out) == []
    finally:
        os.kill(slow.pid, signal.SIGCONT)
    assert slow.wait() == 0, slow.said()


@pytest.mark.promise(OVERTAKEN)
def test_overtaken_while_it_restores(source: Path, quiet: str, tmp_path: Path) -> None:
    """The tars from which it would restore the files that a killed driver left out are deleted before it reads them."""
    out = str(tmp_path / "out")
    deaths = Trap("after commit, before acknowledgement").set(tmp_path / "deaths")
    assert Driver(arguments(source, out), deaths).wait() == -signal.SIGKILL
    overtaken(source, out, "in verify, after the listing", 1, tmp_path / "traps", {})
    assert fault(out, published(quiet)) == ""


def units(uri: str) -> dict[str, set[tuple[str, str]]]:
    """Unit -> every file of its commit record with its hash."""
    records = Ledger(open_store(uri)).committed()
    return {unit: {(entry.path, entry.sha256) for entry in (*r.files, *r.loose)} for unit, r in records.items()}


def whole(out: str, *runs: str) -> str:
    """The fault of an output whose every unit must be, as a whole, that of one of the runs; or ""."""
    now, possible = units(out), [units(run) for run in runs]
    if mixed := [unit for unit, files in now.items() if all(files != run[unit] for run in possible)]:
        return f"mixed: {mixed}"
    if len(now) != UNITS:
        return f"{len(now)} commits"
    committed = {pair for files in now.values() for pair in files}
    if difference := committed ^ set(published(out).items()):
        return f"not exactly what was committed: {sorted(difference)}"
    return ""


@pytest.mark.promise(OVERTAKEN)
@pytest.mark.parametrize("point", SHORT)
def test_overtaken_on_disk(point: str, source: Path, quiet: str, tmp_path: Path) -> None:
    hit = 2 if point in WORKER else 1
    overtaken(source, str(tmp_path / "out"), point, hit, tmp_path / "traps", {})
    assert fault(str(tmp_path / "out"), published(quiet)) == ""


@pytest.mark.promise(OVERTAKEN)
@pytest.mark.parametrize("point", ["after upload of the masks"])
def test_overtaken_with_other_bytes(point: str, source: Path, quiet: str, other: str, tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    overtaken(source, out, point, 2, tmp_path / "traps", OTHER_BYTES)
    assert whole(out, quiet, other) == ""


@pytest.mark.chaos
@pytest.mark.promise(OVERTAKEN)
@pytest.mark.parametrize("bytes_", ["same", "other"])
@pytest.mark.parametrize("where", ["disk", "s3"])
@pytest.mark.parametrize("point", POINTS)
def test_overtaken_at_every_point(
    point: str,
    where: str,
    bytes_: str,
    source: Path,
    quiet: str,
    other: str,
    tmp_path: Path,
    s3: S3,
) -> None:
    if where == "s3" and point in ON_DISK:
        where = "disk"
    out = s3.uri(tmp_path.name) if where == "s3" else str(tmp_path / "out")
    hit = 1 if point in DRIVER else random.Random(point).randint(1, UNITS)
    overtaken(source, out, point, hit, tmp_path / "traps", OTHER_BYTES if bytes_ == "other" else {})
    assert (fault(out, published(quiet)) if bytes_ == "same" else whole(out, quiet, other)) == ""


def race(source: Path, out: str, quiet: str, other: str, seed: int) -> None:
    """Run two drivers at once; in odd races they write different bytes."""
    print(f"seed {seed}")  # pytest shows it with a failure
    draw, second = random.Random(seed), OTHER_BYTES if seed % 2 else {}
    with Reader(out) as reader:
        drivers = [Driver(arguments(source, out))]
        time.sleep(draw.choice([0, 0, 0.05, 0.2]))
        drivers.append(Driver(arguments(source, out), second))
        assert [driver.wait() for driver in drivers] == [0, 0], [driver.said() for driver in drivers]
    assert reader.faults == []
    assert reader.reads > 1
    assert seen(out) == []
    assert whole(out, quiet, other) == ""
    assert seed % 2 or fault(out, published(quiet)) == ""


@pytest.mark.promise(RACE)
@pytest.mark.parametrize("seed", [0, 1])
def test_a_race(seed: int, source: Path, quiet: str, other: str, tmp_path: Path) -> None:
    race(source, str(tmp_path / "out"), quiet, other, seed)


@pytest.mark.chaos
@pytest.mark.promise(RACE)
@pytest.mark.parametrize("where", ["disk", "s3"])
@pytest.mark.parametrize("seed", range(10, 20))
def test_twenty_races(seed: int, where: str, source: Path, quiet: str, other: str, tmp_path: Path, s3: S3) -> None:
    race(source, s3.uri(tmp_path.name) if where == "s3" else str(tmp_path / "out"), quiet, other, seed)
