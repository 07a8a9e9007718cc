"""What more than one folder of tests needs."""

import os
from collections.abc import Iterator

import pytest

from tests.fakes.s3_server import S3, serve

pytest_plugins = ["tests.fakes.gpu_option", "tests.fakes.promise_table"]


@pytest.fixture(scope="session")
def s3() -> Iterator[S3]:
    """A real S3 on loopback, to which the ambient settings of this process and its children lead."""
    with serve() as server:
        before = {name: os.environ.get(name) for name in server.environment()}
        os.environ.update(server.environment())
        try:
            yield server
        finally:
            for name, value in before.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value
