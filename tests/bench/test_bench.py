"""The benchmark's own arithmetic: memory of a whole process tree, ratios, goals, and failures that show."""

import sys
from pathlib import Path

import pytest

from tests.bench import bench, sampler
from tests.bench.bench import Entry, Result

MIB = 1 << 20


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampler, "EVERY", 0.1)  # these programs live for less than the second between two samples


def hold(mib: int, then: str = "") -> str:
    """A program that fills memory, then runs another statement, then waits long enough to be sampled twice."""
    return f"import subprocess, sys, time; held = b'x' * ({mib} * {MIB}); {then or 'pass'}; time.sleep(0.7)"


def test_memory_of_children_counts_and_the_driver_is_told_apart(tmp_path: Path) -> None:
    child = f"subprocess.run([sys.executable, '-c', {hold(120)!r}])"
    measured = sampler.run([sys.executable, "-c", hold(40, child)], cwd=tmp_path)
    assert measured.code == 0
    assert 40 < measured.driver < 80
    assert 160 < measured.all < 240
    assert measured.wall >= 0.7


def test_a_process_whose_parent_died_still_counts(tmp_path: Path) -> None:
    child = f"subprocess.Popen([sys.executable, '-c', {hold(100)!r}], stdout=subprocess.DEVNULL)"
    middle = f"import subprocess, sys, time; {child}; time.sleep(0.3)"
    root = f"import subprocess, sys, time; subprocess.run([sys.executable, '-c', {middle!r}]); time.sleep(0.7)"
    measured = sampler.run([sys.executable, "-c", root], cwd=tmp_path)
    assert measured.all > 100
    assert measured.driver < 40


def test_output_and_exit_code_come_back(tmp_path: Path) -> None:
    program = "import sys; print('{\"images\": 3}'); sys.stderr.write('why'); sys.exit(4)"
    measured = sampler.run([sys.executable, "-c", program], cwd=tmp_path)
    assert (measured.code, measured.output, measured.errors) == (4, '{"images": 3}\n', "why")


def entry(name: str, *, warm: bool = False) -> Entry:
    return Entry(name=name, what="what", command=lambda images, out: [], warm=warm)


RESULTS = [
    Result(entry=entry("a"), images=10, speed=20.0, loop=25.0, driver=50, all=700, faces=4),
    Result(entry=entry("b cold"), images=10, speed=18.0, loop=18.0, driver=200, all=900, faces=4),
    Result(entry=entry("b warm", warm=True), images=10, speed=24.0, loop=24.0, driver=200, all=900),
    Result(entry=entry("c"), failure="exit code 1, 0 of 10 images"),
    Result(entry=entry("e"), images=10, speed=15.0, loop=15.0),
    Result(entry=entry("b long"), images=40, speed=18.0, loop=18.0, driver=200, all=1000),
]


def test_warm_figures_are_compared_with_the_floor_without_its_start() -> None:
    rows = {line.split("|")[1].strip(): line for line in bench.table(RESULTS).splitlines()[2:]}
    assert "| 18.0 | 0.90 | 200 | 900 | 4 |" in rows["b cold"]
    assert "| 24.0 | 0.96 | 200 | 900 | - |" in rows["b warm"]
    assert "failed: exit code 1, 0 of 10 images" in rows["c"]


def test_goals_say_what_was_missed() -> None:
    text = bench.goals(RESULTS)
    assert "| (b warm) / (a) | 0.97 | 0.96 | missed |" in text
    assert "| (b cold) / (a) | 0.88 | 0.90 | reached |" in text
    assert "| (b cold) / (e) | 1.50 | 1.20 | missed |" in text
    assert "(b cold) / (c)" not in text
    assert "at most 1.10 | 1.11 | missed" in text


@pytest.mark.parametrize(
    ("program", "failure"),
    [
        ("print('{\"images\": 5}')", ""),
        ("print('{\"images\": 4}')", "exit code 0, 4 of 5 images"),
        ("print('{\"images\": 5}'); raise SystemExit(1)", "exit code 1, 5 of 5 images"),
        ("print('nothing')", "exit code 0, 0 of 5 images"),
    ],
)
def test_a_run_that_lost_images_has_no_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str, failure: str
) -> None:
    monkeypatch.setattr(bench, "HOME", tmp_path)
    made = Entry(name="x", what="what", command=lambda images, out: [sys.executable, "-c", program])
    result = bench.run(made, tmp_path, 5, 1)
    assert result.failure == failure
    assert (result.speed > 0) == (failure == "")
