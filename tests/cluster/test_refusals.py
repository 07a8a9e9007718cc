"""What segfill submit refuses, each in one line, before anything is sent."""

import http.server
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import ray

from jobs.entry import segfill

PLACES = ["s3://bucket/in", "s3://bucket/out"]


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path):  # type: ignore[no-untyped-def]
    """Runs submit with these arguments; returns its one line."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)

    def run(*arguments: str, code: int = 2) -> str:
        assert segfill(["submit", *arguments]) == code
        lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("submit: ")]
        assert len(lines) == 1
        assert list(tmp_path.iterdir()) == []
        return lines[0]

    return run


@contextmanager
def server(answer: bytes | None) -> Iterator[str]:
    """An address that answers every request with this JSON, or takes connections and is silent."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if answer is None:
                time.sleep(20)
                return
            self.send_response(200)
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: object) -> None:
            pass

    http_server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http_server.daemon_threads, http_server.block_on_close = True, False
    thread = threading.Thread(target=http_server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{http_server.server_address[1]}"
    finally:
        http_server.shutdown()
        http_server.server_close()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["anonymise", *PLACES], "expected a job first (annotate, clean, anonymize), got anonymise"),
        (["clean", *PLACES, "fill=difuse"], "did you mean fill=diffuse?"),
        (["clean", *PLACES, "max_reject_share=2"], "max_reject_share: expected a number from 0 to 1, got 2"),
        (["clean", PLACES[0]], "sink.uri is required"),
        (["clean", *PLACES, "cluster=rai"], "cluster=rai: no such choice; did you mean cluster=ray?"),
        (["clean", *PLACES, "cluster.adress=x"], "did you mean submit.cluster.address?"),
        (["clean", *PLACES, "execute=local"], "Local would run on the cluster's head alone; choose execute=auto"),
        (["clean", *PLACES, "execute.address=h:6379"], "execute.address: submit names the cluster by itself"),
        (["clean", *PLACES, "cluster.address=10.0.0.1:8265"], "expected the dashboard, such as http://HEAD:8265"),
        (["clean", *PLACES, "cluster.address=http://192.0.2.7:8265"], "is not on loopback, and without a token"),
        (["clean", *PLACES, "+cluster.token=abc"], "cluster.token looks like a credential"),
        (["clean", *PLACES, "cluster.address=http://me:hunter2@h:8265"], "the value carries a credential"),
        (["clean", *PLACES, "+source.secret_key=abc"], "looks like a credential"),
    ],
)
def test_a_mistake_is_one_line(arguments: list[str], expected: str, refused) -> None:  # type: ignore[no-untyped-def]
    line = refused(*arguments)
    assert expected in line
    assert "hunter2" not in line


def test_a_job_does_not_take_a_cluster(capsys: pytest.CaptureFixture[str]) -> None:
    assert segfill(["clean", *PLACES, "cluster=ray"]) == 2
    assert "segfill submit clean ... sends a job to a cluster" in capsys.readouterr().err


def test_nobody_at_the_address_is_one_line(refused) -> None:  # type: ignore[no-untyped-def]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
    assert f"no Ray dashboard answers at {address}" in refused("clean", *PLACES, f"cluster.address={address}")


def test_who_is_silent_is_left_within_15_seconds(refused) -> None:  # type: ignore[no-untyped-def]
    with server(None) as address:
        started = time.monotonic()
        line = refused("clean", *PLACES, f"cluster.address={address}")
    assert f"no Ray dashboard answers at {address}" in line
    assert time.monotonic() - started < 15


def test_a_server_of_something_else_is_one_line(refused) -> None:  # type: ignore[no-untyped-def]
    with server(b"<html>") as address:
        assert "no Ray dashboard answers at" in refused("clean", *PLACES, f"cluster.address={address}")


def test_another_version_of_ray_is_named(refused) -> None:  # type: ignore[no-untyped-def]
    with server(json.dumps({"ray_version": "2.58.0", "version": "4"}).encode()) as address:
        line = refused("clean", *PLACES, f"cluster.address={address}")
    assert f"{address} runs Ray 2.58.0, this Segfill needs {ray.__version__} on every node" in line
