"""One Ray session for the tests of a file."""

from collections.abc import Iterator

import psutil
import pytest

from pipeline.execute.ray_data import RayData
from tests.fakes.s3_server import S3


@pytest.fixture(scope="module")
def ray_here(s3: S3) -> Iterator[None]:
    """After `s3`, whose variables Ray's workers inherit. Nothing of Ray outlives the session."""
    with RayData(store_mib=256).session():
        yield
    assert not [process for process in psutil.Process().children(recursive=True) if "raylet" in process.name()]
