"""A stage that hangs, whichever it is, publishes nothing of an original."""

from pathlib import Path

import pytest

from tests.fakes import hanging_run
from tests.fakes.planted_originals import COLOUR, plant

pytestmark = pytest.mark.chaos


@pytest.mark.timeout(900)
@pytest.mark.promise("A stage that breaks, in whatever way, publishes nothing of an original")
@pytest.mark.parametrize("stage", hanging_run.STAGES)
def test_a_stage_that_hangs_publishes_nothing(stage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "originals"
    folder.mkdir()
    hanging_run.check(stage, folder, tmp_path / "out", plant(folder), COLOUR, monkeypatch)
