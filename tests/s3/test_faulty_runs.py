"""Whole runs over a bad connection, in this process: the right bytes, or a clear stop that the same command resumes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.entry import main
from pipeline.storage import s3 as backend
from pipeline.storage.store import open_store
from tests.fakes.published_output import published, totals
from tests.fakes.s3_proxy import Choose, Proxy, Request, always, between, never, seeded
from tests.fakes.s3_server import S3

QUICK = ["segment.faces.thorough=false", "audit=none"]
SMALL = ["execute=local", *QUICK, "sink=files", "source.unit_images=4", "max_reject_share=0.2"]


@pytest.fixture(scope="module")
def quiet(s3: S3, demo_shards: Path) -> str:
    """An undisturbed run's output; its source is beside it, as `webdataset`, `parquet` and `folder`."""
    store = open_store(s3.uri("faulty"))
    for info in open_store(str(demo_shards)).list():
        store.put(info.path, (demo_shards / info.path).read_bytes())
    out = store.join("quiet")
    assert run(store.join("webdataset"), out) == 0
    return out


@pytest.fixture
def proxy(quiet: str, s3: S3, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    with between(s3) as proxy:
        for name, value in proxy.s3.environment().items():
            monkeypatch.setenv(name, value)
        yield proxy


def run(source: str, out: str) -> int:
    return main("anonymize", [f"source.uri={source}", f"sink.uri={out}", *SMALL])


def source_of(quiet: str) -> str:
    return quiet.replace("quiet", "webdataset")


def lost_creates() -> Choose:
    """Lose the answer to the first try of every put, conditional or not."""
    seen: set[str] = set()

    def choose(request: Request) -> str:
        if request.method != "PUT" or request.path in seen:
            return ""
        seen.add(request.path)
        return "lost_answer"

    return choose


@pytest.mark.parametrize("choose", [seeded(7, share=0.2), lost_creates()], ids=["every fault", "lost puts"])
@pytest.mark.promise("Storage faults (5 % of requests, six kinds) do not change a byte of the output")
def test_a_run_through_faults_writes_the_same_bytes(
    choose: Choose, quiet: str, proxy: Proxy, request: pytest.FixtureRequest
) -> None:
    out = quiet.replace("quiet", f"run-{request.node.callspec.id.replace(' ', '-')}")
    proxy.choose = choose
    assert run(source_of(quiet), out) == 0
    assert sum(proxy.spoilt.values()) > 10
    proxy.choose = never
    assert published(out) == published(quiet)
    assert totals(out) == totals(quiet)
    assert not open_store(out).list("_staged") + open_store(out).list("_attempt")


def from_commit(number: int, fault: str) -> Choose:
    """Spoil every request after this number of commits."""
    commits = 0

    def choose(request: Request) -> str:
        nonlocal commits
        commits += request.conditional and "/_commit/" in request.path
        return fault if commits > number else ""

    return choose


@pytest.mark.parametrize("fault", ["slow_down", "forbidden"])
@pytest.mark.promise("A lost storage or lost rights end a run with one line; the same command resumes it")
def test_a_lost_storage_ends_the_run_and_the_same_command_resumes_it(
    fault: str, quiet: str, proxy: Proxy, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(backend, "RETRY_SECONDS", 1.0)
    monkeypatch.setattr(backend, "SHORT_RETRY_SECONDS", 0.3)
    out = quiet.replace("quiet", f"lost-{fault}")
    proxy.choose = from_commit(1, fault)
    assert run(source_of(quiet), out) == 1
    said = capsys.readouterr().err.splitlines()
    assert said[-1].startswith("anonymize: ")
    assert out in said[-1]
    assert said[-1].endswith("the same command resumes the run")
    assert not [line for line in said if "Traceback" in line]
    proxy.choose = never
    assert len(open_store(out).list("_commit")) == 1
    assert run(source_of(quiet), out) == 0
    assert "resuming" in capsys.readouterr().out
    assert published(out) == published(quiet)
    assert totals(out) == totals(quiet)


@pytest.mark.parametrize("fault", ["slow_down", "forbidden"])
@pytest.mark.promise("A lost storage or lost rights end a run with one line; the same command resumes it")
def test_a_storage_that_is_not_there_is_refused_before_anything_is_written(
    fault: str,
    quiet: str,
    proxy: Proxy,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(backend, "_answering", False)
    proxy.choose = always(fault)
    assert run(source_of(quiet), str(tmp_path / "out")) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert said[0].startswith(f"anonymize: source.uri={source_of(quiet)}")
    assert not (tmp_path / "out").exists()
