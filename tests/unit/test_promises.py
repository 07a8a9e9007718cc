"""The table of promises counts tries and successes, and never shows a miss as a success."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.fakes.promise_table import BEGIN, END

pytestmark = pytest.mark.slow  # each starts another pytest

TESTS = """
import pytest
@pytest.mark.promise("one")
@pytest.mark.parametrize("n", [1, 2, 3])
def test_one(n): pass
@pytest.mark.promise("many")
def test_many(record_property):
    record_property("tried", 20); record_property("held", 20)
@pytest.mark.promise("many")
def test_more(record_property):
    record_property("tried", 5); record_property("held", 5)
@pytest.mark.promise("absent")
@pytest.mark.skip(reason="no tool")
def test_absent(): pass
"""
MISSES = """
@pytest.mark.promise("broken")
def test_broken(): raise ValueError("why")
@pytest.fixture
def setup(): raise ValueError("set-up")
@pytest.mark.promise("broken")
def test_setup(setup): pass
@pytest.mark.promise("broken")
def test_recorded_all_then_failed(record_property):
    record_property("tried", 10); record_property("held", 10)
    raise ValueError("after")
"""
SHORT = """
@pytest.mark.promise("short")
def test_short(record_property):
    record_property("tried", 10); record_property("held", 9)
"""


def session(folder: Path, tests: str) -> tuple[int, str, str]:
    """Exit code, what was printed, RELIABILITY.md."""
    (folder / "test_it.py").write_text(tests)
    (folder / "R.md").write_text(f"before\n{BEGIN}\nOUTDATED\n{END}\nafter\n")
    command = [sys.executable, "-m", "pytest", "-p", "tests.fakes.promise_table", "-c", "/dev/null", "-W", "ignore"]
    done = subprocess.run(
        [*command, "--rootdir", str(folder), f"--promises={folder / 'R.md'}", str(folder)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout, (folder / "R.md").read_text()


def test_what_holds_is_added_up_and_what_is_skipped_is_named(tmp_path: Path) -> None:
    code, said, page = session(tmp_path, TESTS)
    assert code == 0
    for line in ("| One | 3 | 3 |", "| Many | 25 | 25 |", "| Absent | 0 | 0 |", "| **all** | **28** | **28** |"):
        assert line in page
    assert "skipped: test_it.py::test_absent: no tool" in page
    assert "skipped: test_it.py::test_absent: no tool" in said
    assert page.startswith(f"before\n{BEGIN}\n")
    assert page.endswith(f"{END}\nafter\n")
    assert "OUTDATED" not in page


@pytest.mark.parametrize(
    ("tests", "row", "note"),
    [
        (MISSES, "| Broken | 12 | 9 |", "missed: test_it.py::test_setup: ValueError: set-up"),
        (SHORT, "| Short | 10 | 9 |", "missed: test_it.py::test_short: held 9 of 10"),
    ],
)
def test_a_miss_is_shown_and_ends_with_an_error(tests: str, row: str, note: str, tmp_path: Path) -> None:
    code, said, page = session(tmp_path, TESTS + tests)
    assert code == 1
    assert row in page
    assert note in page
    assert "MISSED" in said


def test_a_run_that_could_not_collect_its_tests_changes_no_file(tmp_path: Path) -> None:
    code, _, page = session(tmp_path, "import nothing_of_the_kind")
    assert code == 2
    assert "OUTDATED" in page
