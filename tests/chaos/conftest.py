"""The source and the undisturbed output for tests that kill runs."""

from pathlib import Path

import pytest

from tests.fakes.driver_processes import arguments, build, fault, finished
from tests.fakes.published_output import published


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("source") / "shards")


@pytest.fixture(scope="session")
def quiet(source: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The objects of an undisturbed plain loop. Their names carry hashes, so they are equal on disk and on S3."""
    out = str(tmp_path_factory.mktemp("quiet") / "out")
    assert finished(arguments(source, out)) == 0
    objects = published(out)
    assert fault(out, objects) == ""
    return objects
