"""A stage that hangs, whichever it is, publishes nothing of an original."""

from pathlib import Path

import pytest

from tests.fakes import hanging_run
from tests.flow.test_privacy import COLOUR, originals  # noqa: F401  # a fixture

pytestmark = pytest.mark.chaos


@pytest.mark.timeout(900)
@pytest.mark.promise("A stage that breaks, in whatever way, publishes nothing of an original")
@pytest.mark.parametrize("stage", hanging_run.STAGES)
def test_a_stage_that_hangs_publishes_nothing(
    stage: str,
    originals: tuple[Path, tuple[bytes, ...]],  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder, secrets = originals
    hanging_run.check(stage, folder, tmp_path / "out", secrets, COLOUR, monkeypatch)
