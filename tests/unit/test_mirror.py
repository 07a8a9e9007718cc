"""tests/unit mirrors the tree: pipeline/a/b.py is tested by a/test_b.py, jobs/c.py by jobs/test_c.py."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
UNIT = ROOT / "tests" / "unit"

OF_SEVERAL_MODULES = {
    "fill/test_every_fill.py": "what every fill of the folder promises",
    "fill/shared/test_windows_large.py": "shared/windows.py in a process of its own, whose memory is measured",
    "report/test_browser.py": "report/page.py as a browser shows it",
    "storage/test_uris.py": "the URIs that a source and a sink accept, over the whole folder",
    "test_constraints.py": "constraints.txt",
    "test_mirror.py": "this folder",
    "test_public_names.py": "what `from pipeline import ...` exports",
    "test_promises.py": "tests/fakes/promise_table.py",
    "test_security_page.py": "SECURITY.md",
}
"""Path below tests/unit -> what it tests instead of one module."""


def _module(test: Path) -> Path:
    """The file, or the package, that a test of this path is for."""
    place = test.relative_to(UNIT)
    top = ROOT if place.parts[0] == "jobs" else ROOT / "pipeline"
    return top / place.with_name(place.name.removeprefix("test_"))


def test_every_unit_test_stands_where_its_module_does() -> None:
    tests = {path for path in UNIT.rglob("test_*.py") if str(path.relative_to(UNIT)) not in OF_SEVERAL_MODULES}
    assert len(tests) > 50
    astray = [
        str(test.relative_to(ROOT))
        for test in sorted(tests)
        if not (_module(test).is_file() or (_module(test).with_suffix("") / "__init__.py").is_file())
    ]
    assert astray == []


def test_every_exception_is_still_one() -> None:
    assert [name for name in OF_SEVERAL_MODULES if not (UNIT / name).is_file()] == []
    assert [name for name in OF_SEVERAL_MODULES if _module(UNIT / name).is_file()] == []


def test_only_tests_stand_here() -> None:
    """Helpers live in tests/fakes."""
    assert [str(path.relative_to(ROOT)) for path in UNIT.rglob("*.py") if not path.name.startswith("test_")] == []
