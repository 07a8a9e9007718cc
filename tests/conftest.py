"""Fixtures for more than one folder of tests."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs import demo_shards as demo
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


@pytest.fixture(scope="session")
def demo_shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's twelve images as `folder`, `webdataset` and `parquet`. Read only: all tests share it."""
    folder = tmp_path_factory.mktemp("demo")
    demo.build(folder)
    return folder
