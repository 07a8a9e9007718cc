"""A hole of 30 megapixels in a picture of 100, whatever the size of the network: in less than 2 GB, without it."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.chaos, pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")]


def test_a_hole_of_30_megapixels_takes_less_than_2_gb() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.fakes.large_hole_fill"],
        cwd=Path(__file__).parents[4],
        capture_output=True,
        text=True,
        check=True,
    )
    peak, area, wrong = (int(word) for word in done.stdout.split())
    assert area > 30_000_000
    assert peak < 2000
    assert wrong < 60  # a mean: no more than half of the slope
