"""Runs over a bad connection to S3, the long form: every fault alone, all together, on Ray, and a lost storage."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from jobs.demo_shards import build_bench
from pipeline.storage.store import open_store
from tests.fakes.published_output import published, totals
from tests.fakes.s3_proxy import FAULTS, Choose, Proxy, Request, between, never, seeded
from tests.fakes.s3_server import S3

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(900)]

IMAGES = 96
SETTINGS = ["segment.faces.thorough=false", "audit=none", "source.unit_images=6", "max_reject_share=0.5"]
SAME = "Storage faults (5 % of requests, six kinds) do not change a byte of the output"
STOP = "A lost storage or lost rights end a run with one line; the same command resumes it"


@pytest.fixture(scope="module")
def proxy(s3: S3, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """In front of a bucket that holds the shards, and the output of an undisturbed run (`quiet`)."""
    folder = tmp_path_factory.mktemp("bad-connection")
    build_bench(folder, IMAGES, loose=False)
    store = open_store(s3.uri("bad/in"))
    for info in open_store(str(folder / "shards")).list():
        store.put(info.path, (folder / "shards" / info.path).read_bytes())
    with between(s3) as proxy:
        assert start(proxy, "quiet", "local").wait() == 0
        yield proxy


def start(proxy: Proxy, name: str, executor: str) -> subprocess.Popen[str]:
    uris = [f"source.uri={proxy.s3.uri('bad/in')}", f"sink.uri={proxy.s3.uri(f'bad/{name}')}"]
    return subprocess.Popen(
        [sys.executable, "-m", "jobs.anonymize", *uris, f"execute={executor}", *SETTINGS],
        cwd=Path(__file__).parents[2],
        env={**os.environ, **proxy.s3.environment()},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def timed(proxy: Proxy, name: str, executor: str, choose: Choose) -> float:
    """Run to a successful end. Returns the seconds."""
    proxy.choose, started = choose, time.monotonic()
    process = start(proxy, name, executor)
    _, said = process.communicate()
    proxy.choose = never
    assert process.returncode == 0, said
    return time.monotonic() - started


@pytest.mark.promise(SAME)
@pytest.mark.promise("Storage faults (5 % of requests) cost at most as much time again as the run itself")
@pytest.mark.parametrize(
    ("kinds", "executor"),
    [*(((kind,), "local") for kind in FAULTS), (FAULTS, "local"), (FAULTS, "ray")],
    ids=lambda value: "+".join(value) if isinstance(value, tuple) and len(value) == 1 else None,
)
def test_a_run_through_faults(
    kinds: tuple[str, ...], executor: str, proxy: Proxy, s3: S3, record_property: Callable[[str, object], None]
) -> None:
    name = f"{executor}-{len(kinds)}-{kinds[0]}"
    undisturbed = timed(proxy, f"{name}-quiet", executor, never)
    proxy.spoilt.clear()
    disturbed = timed(proxy, name, executor, seeded(len(name), faults=kinds))
    record_property("ratio", f"{disturbed / undisturbed:.2f}")
    print(f"{name}: {dict(proxy.spoilt)} {undisturbed:.1f} s -> {disturbed:.1f} s")
    assert sum(proxy.spoilt.values()) > 3
    assert published(s3.uri(f"bad/{name}")) == published(s3.uri("bad/quiet"))
    assert totals(s3.uri(f"bad/{name}"))["images"] == IMAGES
    assert disturbed < 2 * undisturbed


class After:
    """Spoils every request after this number of commits. since: time of the first spoilt one (monotonic seconds)."""

    def __init__(self, commits: int, fault: str) -> None:
        self.commits, self.fault, self.since = commits, fault, 0.0

    def __call__(self, request: Request) -> str:
        self.commits -= request.conditional and "/_commit/" in request.path
        if self.commits >= 0:
            return ""
        self.since = self.since or time.monotonic()
        return self.fault


@pytest.mark.promise(STOP)
@pytest.mark.parametrize("executor", ["local", "ray"])
@pytest.mark.parametrize("fault", ["slow_down", "reset_request", "silent", "forbidden"])
def test_a_lost_storage_ends_the_run_within_a_minute(fault: str, executor: str, proxy: Proxy, s3: S3) -> None:
    name = f"lost-{fault}-{executor}"
    proxy.choose = lost = After(3, fault)
    process = start(proxy, name, executor)
    _, said = process.communicate()
    ended = time.monotonic()
    proxy.choose = never
    assert process.returncode == 1, said
    assert ended - lost.since < 60
    assert "Traceback" not in said
    assert said.splitlines()[-1].endswith("the same command resumes the run")
    assert len(open_store(s3.uri(f"bad/{name}")).list("_commit")) == 3
    timed(proxy, name, executor, never)
    assert published(s3.uri(f"bad/{name}")) == published(s3.uri("bad/quiet"))
