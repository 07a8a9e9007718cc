"""The longer form of tests/conf/test_security.py and tests/flow/test_names.py."""

from pathlib import Path

import pytest

from jobs.entry import main
from tests.conf.test_security import MORE_OUTSIDE, PLACES
from tests.flow.test_names import KEPT, stay_inside

pytestmark = pytest.mark.chaos


@pytest.mark.promise(KEPT)
@pytest.mark.parametrize(
    ("source", "sink"), [("tar", "parquet"), ("folder", "tar"), ("folder", "parquet"), ("parquet", "tar")]
)
def test_hostile_names(source: str, sink: str, tmp_path: Path) -> None:
    stay_inside(source, sink, tmp_path)


@pytest.mark.promise("a class outside the allowed packages is never named by a config")
@pytest.mark.parametrize("overrides", MORE_OUTSIDE)
def test_no_code_outside_the_allowed_packages(
    overrides: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EVIL", "os.system")
    assert main("anonymize", [*PLACES, *overrides]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
