"""Ray started here is reachable from this machine only, and a cluster elsewhere only with a token."""

import ipaddress
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.errors import ConfigError
from pipeline.execute.ray_cluster import check_address

ROOT = Path(__file__).parents[2]

# A process of its own: another test's Ray may be up in this one.
LISTENERS = """
import json, psutil, ray
from pipeline.execute.ray_data import RayData

@ray.remote(num_cpus=0.5)
class Actor:
    def ready(self):
        return True

with RayData(cpus=1, store_mib=100).session():
    actor = Actor.remote()
    ray.get(actor.ready.remote())
    driver = psutil.Process()
    found = [
        (process.name(), connection.laddr.ip)
        for process in [driver, *driver.children(recursive=True)]
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    ]
print(json.dumps(found))
"""


@pytest.mark.promise("Ray started by a run listens on loopback only")
def test_every_socket_of_ray_is_on_loopback() -> None:
    environment = {**os.environ, "RAY_ADDRESS": "192.0.2.1:6379"}  # must not lead a local run elsewhere
    done = subprocess.run(
        [sys.executable, "-c", LISTENERS], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    names = {name for name, _ in found}
    assert {"gcs_server", "raylet"} <= names
    assert any(name.startswith("ray::") for name in names), names
    outside = [(name, ip) for name, ip in found if not loopback(ip)]
    assert outside == []


def loopback(ip: str) -> bool:
    address = ipaddress.ip_address(ip)
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


@pytest.mark.promise("a Ray cluster off loopback is refused without a token")
@pytest.mark.parametrize(
    "address",
    ["auto", "local", "192.0.2.7:6379", "head.example:6379", "localhost.example:6379",
     "[2001:db8::7]:6379", "127.0.0.1.example:6379", "0.0.0.0:6379", "head"],
)  # fmt: skip
def test_a_cluster_off_loopback_needs_a_token(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for mode in ("", "disabled", "TOKEN?"):
        monkeypatch.setenv("RAY_AUTH_MODE", mode)
        with pytest.raises(ConfigError, match="RAY_AUTH_MODE=token") as caught:
            check_address(address)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("address", ["127.0.0.1:1", "localhost:1", "[::1]:1"])
def test_loopback_needs_none(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    with pytest.raises(ConfigError, match="no Ray cluster at"):
        check_address(address)
