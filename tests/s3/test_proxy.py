"""store.py over a bad connection: each fault is noticed and retried, and a lasting fault ends the call."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator

import pytest

from pipeline.storage import s3 as backend
from pipeline.storage.store import Store, open_store
from tests.fakes.s3_proxy import FAULTS, Choose, Proxy, Request, always, between, never, seeded
from tests.fakes.s3_server import S3

DATA = os.urandom(1 << 20) * 3


@pytest.fixture
def proxy(s3: S3, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    with between(s3) as proxy:
        for name, value in proxy.s3.environment().items():
            monkeypatch.setenv(name, value)
        yield proxy


@pytest.fixture
def store(proxy: Proxy, request: pytest.FixtureRequest) -> Store:
    return open_store(proxy.s3.uri(f"proxy/{request.node.name}"))


def first_of_each(fault: str) -> Choose:
    """Spoil the first try of every request."""
    seen: set[tuple[str, str]] = set()

    def choose(request: Request) -> str:
        new = (request.method, request.path) not in seen
        seen.add((request.method, request.path))
        return fault if new else ""

    return choose


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.promise("Storage faults (5 % of requests, six kinds) do not change a byte of the output")
def test_every_operation_rides_out_every_fault(fault: str, store: Store, proxy: Proxy) -> None:
    proxy.choose = first_of_each(fault)
    assert store.create("a", DATA) or fault == "lost_answer"
    assert not store.create("a", b"another")
    assert store.put("b", DATA[::-1]) == store.etag_of(DATA[::-1])
    assert store.read("a") == DATA
    assert store.read_range("b", 5, 1_000_000) == DATA[::-1][5:1_000_000]
    with store.open("a", start=77) as reader:
        assert reader.read() == DATA[77:]
    assert [(info.path, info.size) for info in store.list()] == [("a", len(DATA)), ("b", len(DATA))]
    assert store.probe_conditional_create()
    store.delete(["a"])
    assert [info.path for info in store.list()] == ["b"]
    with pytest.raises(FileNotFoundError):
        store.read("a")
    assert proxy.spoilt[fault] >= 8


@pytest.mark.parametrize("fault", ["slow_down", "reset_answer"])
def test_a_lost_storage_is_given_up_after_a_while_then_at_once_then_found_again(
    fault: str, store: Store, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backend, "RETRY_SECONDS", 1.0)
    monkeypatch.setattr(backend, "SHORT_RETRY_SECONDS", 0.0)
    store.put("a", DATA)
    before = proxy.requests
    proxy.choose = always(fault)
    with pytest.raises(OSError, match=re.escape(store.uri)):
        store.read("a")
    patient, before = proxy.requests - before, proxy.requests
    with pytest.raises(OSError, match=re.escape(store.uri)):
        store.delete(["b"])
    assert patient >= 3
    assert proxy.requests - before == 1
    proxy.choose = never
    assert store.read("a") == DATA


def test_a_refusal_is_not_tried_again(store: Store, proxy: Proxy) -> None:
    store.put("a", b"1")
    proxy.choose = always("forbidden")
    before = proxy.requests
    for call in (store.list, lambda: store.read("a"), lambda: store.put("a", b"2"), lambda: store.create("b", b"2")):
        with pytest.raises(PermissionError, match="check the credentials") as caught:
            call()
        assert caught.value.errno in (errno.EACCES, None)
    assert proxy.requests - before == 4


def test_the_same_seed_spoils_the_same_requests() -> None:
    requests = [Request(i, "GET", "/", False) for i in range(2000)]
    one, two, other = ([choose(r) for r in requests] for choose in (seeded(1), seeded(1), seeded(2)))
    assert one == two != other
    assert set(one) == {"", *FAULTS}
    assert 80 < len(requests) - one.count("") < 200
