"""SIGKILL at every named point of a run: the same command again ends with the undisturbed bytes."""

from pathlib import Path

import pytest

from tests.fakes.crash_points import DRIVER, ON_DISK, WORKER, Trap, sprung
from tests.fakes.driver_processes import Driver, arguments, fault, finished
from tests.fakes.s3_server import S3

PROMISE = "Killed at a named point, a run resumes to the bytes of an undisturbed one: 0 lost, 0 doubled"
UNITS = (1, 3, 6)
OFTEN = [(point, UNITS[number % 3]) for number, point in enumerate([*WORKER, "in verify, after a file"])]
ONCE = [(point, 1) for point in list(DRIVER)[1::2]]
LONG = [(point, unit, where) for point in WORKER for unit in UNITS for where in ("disk", "s3")]
LONG += [(point, unit, "disk") for point in ON_DISK for unit in UNITS]
LONG += [(point, 1, where) for point in DRIVER for where in ("disk", "s3")]


def killed_once(source: Path, out: str, quiet: dict[str, str], point: str, hit: int, traps: Path) -> None:
    environment = Trap(point, (hit,)).set(traps)
    assert finished(arguments(source, out), environment) == 1
    assert len(sprung(traps)) == 1
    assert fault(out, quiet) == ""


@pytest.mark.promise(PROMISE)
@pytest.mark.parametrize(("point", "hit"), OFTEN + ONCE)
def test_killed_once_on_disk(point: str, hit: int, source: Path, quiet: dict[str, str], tmp_path: Path) -> None:
    killed_once(source, str(tmp_path / "out"), quiet, point, hit, tmp_path / "traps")


@pytest.mark.promise(PROMISE)
@pytest.mark.parametrize("point", ["after upload of the index", "after commit, before acknowledgement"])
def test_killed_once_on_s3(point: str, source: Path, quiet: dict[str, str], tmp_path: Path, s3: S3) -> None:
    killed_once(source, s3.uri(tmp_path.name), quiet, point, 3, tmp_path / "traps")


@pytest.mark.chaos
@pytest.mark.promise(PROMISE)
@pytest.mark.parametrize(("point", "hit", "where"), LONG)
def test_killed_for_three_units_on_disk_and_on_s3(
    point: str,
    hit: int,
    where: str,
    source: Path,
    quiet: dict[str, str],
    tmp_path: Path,
    s3: S3,
) -> None:
    out = s3.uri(tmp_path.name) if where == "s3" else str(tmp_path / "out")
    killed_once(source, out, quiet, point, hit, tmp_path / "traps")


@pytest.mark.chaos
@pytest.mark.promise(PROMISE)
def test_killed_at_every_point_of_one_run_after_the_other(source: Path, quiet: dict[str, str], tmp_path: Path) -> None:
    """Each command dies a little later than the one before."""
    out, deaths = str(tmp_path / "out"), 0
    for number, point in enumerate(["after the manifest", *WORKER, "in verify, after the listing", *DRIVER]):
        environment = Trap(point).set(tmp_path / f"traps-{number}")
        deaths += Driver(arguments(source, out), environment).wait() == -9
    assert deaths > 10
    assert finished(arguments(source, out)) == 0
    assert fault(out, quiet) == ""
