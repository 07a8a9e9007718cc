"""The clusters that a run may reach, and the message when there is none."""

import socket

import pytest

from pipeline.errors import ConfigError
from pipeline.execute.ray_cluster import check_address


def test_an_address_without_a_cluster_is_refused_by_name() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(ConfigError, match=address):
        check_address(address)
