"""The settings of cluster=ray."""

import pytest

from pipeline.cluster.ray_jobs import RayJobs
from pipeline.errors import ConfigError


@pytest.mark.parametrize("address", ["", "head:8265", "ray://head:10001", "auto", "http://", "ftp://head"])
def test_an_address_that_is_no_dashboard_is_refused(address: str) -> None:
    with pytest.raises(ConfigError, match=r"cluster\.address: expected the dashboard, such as http://HEAD:8265"):
        RayJobs(address=address)


@pytest.mark.parametrize("address", ["http://127.0.0.1:8265", "http://localhost", "https://head.example/ray/"])
def test_a_dashboard_is_taken(address: str) -> None:
    assert RayJobs(address=address).address == address
