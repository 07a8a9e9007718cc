"""store.py on a real S3: the promises of a local store, and those that only a server can break."""

import errno
import hashlib
import multiprocessing
import os
import pickle
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from pipeline.storage import s3 as backend
from pipeline.storage.store import Store, open_store
from tests.fakes.s3_server import S3

NAMES = ["a.bin", "b/1.bin", "b/2.bin", "b/ü ä+%41&?versionId=1#.txt", "c*[x].bin"]


@pytest.fixture
def store(s3: S3, request: pytest.FixtureRequest) -> Store:
    return open_store(s3.uri(f"store/{hashlib.md5(request.node.nodeid.encode()).hexdigest()}"))


def test_an_open_file_is_put_from_its_start(store: Store) -> None:
    data = os.urandom(3 * 2**20)
    with tempfile.TemporaryFile() as file:
        file.write(data)
        assert store.put_file("large.bin", file) == store.etag_of(data)
    assert store.read("large.bin") == data


def test_what_is_put_is_listed_read_and_deleted(store: Store) -> None:
    assert store.list() == []
    for name in NAMES:
        assert store.put(name, name.encode()) == hashlib.md5(name.encode()).hexdigest() == store.etag_of(name.encode())
    found = store.list()
    assert [info.path for info in found] == sorted(NAMES)
    assert all(info == store.stat(info.path) for info in found)
    assert store.read_many(NAMES) == {name: name.encode() for name in NAMES}
    assert [info.path for info in store.list("b")] == sorted(name for name in NAMES if name.startswith("b/"))
    assert [info.path for info in store.list("b/")] == [info.path for info in store.list("b")]
    assert store.list("nothing") == []
    store.delete(["c*[x].bin", "never-was"])  # a `*` in a name is only a letter
    assert [info.path for info in store.list()] == sorted(NAMES)[:-1]


def test_a_listing_is_never_a_memory_of_an_older_one(store: Store, s3: S3) -> None:
    store.put("one", b"1")
    assert len(store.list()) == 1
    other = open_store(store.uri)
    other.put("two", b"2")
    other.put("one", b"11")
    assert [(info.path, info.size) for info in store.list()] == [("one", 2), ("two", 1)]
    assert store.stat("one").size == 2


def test_neighbours_with_the_same_beginning_are_not_listed(store: Store) -> None:
    store.put("x", b"1")
    open_store(store.uri + "-neighbour").put("y", b"2")
    assert [info.path for info in store.list()] == ["x"]


def test_long_listings_are_complete(store: Store) -> None:
    names = [f"n/{i:05d}" for i in range(1203)]  # a page has 1,000
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda name: store.put(name, b""), names))
    assert [info.path for info in store.list()] == names
    assert len(store.list(limit=1)) == 1
    assert len(store.list(limit=1100)) == 1100
    store.delete(names)
    assert store.list() == []


@pytest.mark.parametrize(
    "cuts", [("d/b",), ("d/a", "d/a", "d/c-5"), ("a", "zz"), ("d/c-4", "d/c-4.txt", "d/ü/w", "e/x")], ids=str
)
def test_a_listing_in_parts_is_the_whole_listing(cuts: tuple[str, ...], store: Store) -> None:
    names = ["d/a", "d/b", *(f"d/c-{number}.txt" for number in range(9)), "d/ü/x", "d/", "e/x", "e/y"]
    for name in filter(None, (name.rstrip("/") for name in names if name != "d/")):
        store.put(name, b"x")
    assert store.list(cuts=cuts) == store.list()
    assert [info.path for info in store.list("d", cuts=cuts)] == sorted(n for n in names if n[:2] == "d/" and n != "d/")


def test_ranges(store: Store) -> None:
    store.put("x", bytes(range(100)))
    assert store.read_range("x", 10, 13) == b"\x0a\x0b\x0c"
    assert store.read_range("x", 98, 200) == b"bc"
    assert store.read_range("x", 100, 200) == b""
    assert store.read_range("x", 5, 5) == b""
    store.put("empty", b"")
    assert store.read("empty") == b""
    assert store.read_range("empty", 0, 5) == b""
    with store.open("empty") as reader:
        assert reader.read(10) == b""


def test_create_never_overwrites(store: Store) -> None:
    assert store.create_with_etag("a", b"first") == store.stat("a").etag
    assert not store.create("a", b"second")
    assert store.read("a") == b"first"
    assert store.probe_conditional_create()
    assert [info.path for info in store.list()] == ["a"]


@pytest.mark.parametrize("race", range(3))
def test_one_of_many_creators_wins(store: Store, race: int) -> None:
    def attempt(i: int) -> bool:
        return store.create("race", b"%d" % i * 1000)

    with ThreadPoolExecutor(16) as pool:
        won = list(pool.map(attempt, range(32)))
    assert won.count(True) == 1
    assert store.read("race") == b"%d" % won.index(True) * 1000


def test_a_large_object_is_one_conditional_put(store: Store) -> None:
    data = os.urandom(2**20) * 130  # more than s3fs would send as one put
    etag = store.create_with_etag("large", data)
    assert etag == hashlib.md5(data).hexdigest()
    assert not store.create("large", data[::-1])
    digest = hashlib.md5()
    with store.open("large", start=2**20) as reader:
        digest.update(data[: 2**20])
        while piece := reader.read(7_000_003):
            digest.update(piece)
    assert digest.hexdigest() == etag
    store.delete(["large"])


def test_an_object_that_changes_is_never_read_as_a_mixture(store: Store) -> None:
    store.put("x", b"a" * 2_000_000)
    old = store.stat("x").etag
    with store.open("x") as reader:
        assert reader.read(10) == b"a" * 10
        store.put("x", b"b" * 2_000_000)
        with pytest.raises(OSError, match="no longer the one") as caught:
            reader.read(1_999_990)
    assert caught.value.errno == errno.ESTALE
    with pytest.raises(OSError, match="no longer the one"):
        store.read("x", etag=old)
    assert store.read("x", etag=store.stat("x").etag)[:1] == b"b"


def test_what_is_missing_is_named(store: Store) -> None:
    for call in (store.stat, store.read, store.open):
        with pytest.raises(FileNotFoundError, match=f"{store.uri}/no/such"):
            call("no/such")
    missing = open_store("s3://no-such-bucket/x")
    for look in (missing.list, lambda: missing.read("y")):
        with pytest.raises(FileNotFoundError, match="s3://no-such-bucket/x"):
            look()


def _within(seconds: float, kind: type[OSError], call: Callable[[], object]) -> str:
    started = time.monotonic()
    with pytest.raises(kind) as caught:
        call()
    assert time.monotonic() - started < seconds
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_wrong_key_is_a_permission_error(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.put("x", b"1")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    for call in (
        store.list,
        lambda: store.stat("x"),
        lambda: store.read("x"),
        lambda: store.put("x", b"2"),
        lambda: store.create("y", b"2"),
        lambda: store.delete(["x"]),
    ):
        assert store.uri in _within(10, PermissionError, call)
    monkeypatch.undo()
    assert store.read("x") == b"1"


def test_no_credentials_are_told_at_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    assert "AWS_ACCESS_KEY_ID" in _within(10, OSError, store.list)


@pytest.mark.parametrize("endpoint", ["closed port", "http://no-such-host.invalid:80", "nonsense"])
def test_an_endpoint_that_is_not_there_is_told_in_seconds(
    store: Store, monkeypatch: pytest.MonkeyPatch, endpoint: str
) -> None:
    if endpoint == "closed port":
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            endpoint = f"http://127.0.0.1:{unused.getsockname()[1]}"
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    monkeypatch.setattr(backend, "_answering", False)  # as in a process that starts; one with answers is more patient
    assert store.uri in _within(15, OSError, store.list)


def _read_in_a_child(store: Store) -> bytes:
    return store.read("x")


@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_store_works_in_other_processes(store: Store, method: str) -> None:
    store.put("x", b"from here")
    assert store.read("x") == b"from here"  # connected, so that a fork inherits the connection
    with multiprocessing.get_context(method).Pool(2) as pool:
        assert pool.map(_read_in_a_child, [store] * 4) == [b"from here"] * 4
    assert store.read("x") == b"from here"


def test_a_pickle_holds_the_uri_and_no_secret(store: Store, s3: S3) -> None:
    store.put("x", b"1")
    pickled = pickle.dumps(store)
    assert store.uri.encode() in pickled
    assert s3.secret.encode() not in pickled
    code = "import pickle, sys; print(pickle.load(sys.stdin.buffer).read('x'))"
    done = subprocess.run([sys.executable, "-c", code], input=pickled, capture_output=True, timeout=60, check=True)
    assert done.stdout.strip() == b"b'1'"
