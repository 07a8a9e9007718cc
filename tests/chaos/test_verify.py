"""200 seeded tamperings of a finished output, for each kind of sink, on disk and on S3."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fakes.s3_server import S3
from tests.fakes.tampering import SINKS, finished, missed, named

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(1800)]
TAMPERINGS = 200


@pytest.mark.promise("verify finds a tampering anywhere in a finished output, and names the object")
@pytest.mark.parametrize("where", ["disk", "s3"])
@pytest.mark.parametrize("sink", SINKS)
def test_every_tampering_is_found_and_named(
    sink: str, where: str, s3: S3, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    store = finished(tmp_path / "in", s3.uri(f"verify-{sink}") if where == "s3" else str(tmp_path / "out"), sink)
    assert named(store) == set()
    record_property("tried", TAMPERINGS)
    faults = missed(store, range(1000, 1000 + TAMPERINGS))
    record_property("held", TAMPERINGS - len(faults))
    assert faults == []
    assert named(store) == set()
