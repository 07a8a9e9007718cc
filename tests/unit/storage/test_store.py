"""store.py on local disk: listings, ranges, conditional create, atomic put, refusals."""

import errno
import os
import pickle
import tarfile
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from pipeline.errors import ConfigError
from pipeline.storage.fsspec_backend import CloudBackend
from pipeline.storage.local import LocalBackend
from pipeline.storage.store import READ_AHEAD_MAX, Store, open_store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "root"))


# --- URIs ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("uri", "normal"),
    [
        ("/data/x/", "/data/x"),
        ("file:///data/x", "/data/x"),
        ("file:/data/x", "/data/x"),
        ("file:///data/a%20b", "/data/a%20b"),
        ("/data/../other", "/other"),
        ("/data/a::b", "/data/a::b"),
        ("s3://bucket", "s3://bucket"),
        ("s3://bucket/a/b/", "s3://bucket/a/b"),
        ("S3://bucket/a", "s3://bucket/a"),
        ("gs://bucket/a", "gs://bucket/a"),
        ("az://container/a", "az://container/a"),
    ],
)
def test_uris_are_normalised(uri: str, normal: str) -> None:
    assert open_store(uri).uri == normal
    assert open_store(normal).uri == normal


def test_a_relative_path_is_fixed_when_it_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert open_store("out").uri == str(tmp_path / "out")
    assert open_store("~/out").uri == str(Path.home() / "out")


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        ("", "expected a storage URI"),
        (" /data", "expected a storage URI"),
        ("a\0b", "expected a storage URI"),
        ("http://host/x", "http:// is not read, and no key allows it"),
        ("https://host/x.tar", "https:// is not read"),
        ("ftp://host/x", "unknown scheme 'ftp'"),
        ("s3a://bucket/x", "unknown scheme 's3a'"),
        ("simplecache::s3://bucket/x", "chained"),
        ("file::s3://bucket/x", "chained"),
        ("s3://bucket/x::y", "chained"),
        ("zip://x.zip::/data/a.zip", "unknown scheme"),
        ("s3://", "got bucket ''"),
        ("s3:/bucket/x", "got bucket ''"),
        ("s3:///x", "got bucket ''"),
        ("s3://buck et/x", "got bucket 'buck et'"),
        ("s3://bucket/a/../b", "must not hold"),
        ("file://host/x", "names no host"),
    ],
)
def test_other_uris_are_refused_in_one_line(uri: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        open_store(uri)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "uri",
    [
        "s3://AKIAKEY:hushhush@bucket/x",
        "s3://AKIAKEY:hush/hush@bucket/x",
        "https://user:hushhush@host/x",
        "s3://bucket/x?X-Amz-Signature=hushhush",
        "https://host/x?sv=1&sig=hushhush",
        "filecache::s3://k:hushhush@bucket",
    ],
)
def test_credentials_in_a_uri_are_refused_and_never_repeated(uri: str) -> None:
    with pytest.raises(ConfigError) as caught:
        open_store(uri)
    assert "hush" not in str(caught.value)
    assert "AKIA" not in str(caught.value)


BAD = ["../x", "a/../../x", "/etc/passwd", "a\0b", "", "a/./b", ".."]


@pytest.mark.parametrize("path", BAD)
def test_paths_that_leave_the_root_are_refused_everywhere(store: Store, tmp_path: Path, path: str) -> None:
    (tmp_path / "x").write_bytes(b"outside")
    store.put("here", b"1")
    calls: list[Callable[[], object]] = [
        lambda: store.stat(path),
        lambda: store.read(path),
        lambda: store.read_range(path, 0, 1),
        lambda: store.read_many([path]),
        lambda: store.open(path),
        lambda: store.create(path, b"2"),
        lambda: store.put(path, b"2"),
        lambda: store.delete([path]),
        lambda: store.join(path),
        lambda: store.list(path or "/"),
    ]
    for call in calls:
        with pytest.raises(ValueError, match="path"):
            call()
    assert (tmp_path / "x").read_bytes() == b"outside"


# --- listing ---------------------------------------------------------------------------------------------------


def test_list_is_recursive_sorted_and_relative(store: Store) -> None:
    for path in ("b/2.bin", "a.bin", "b/1.bin", "b.txt", "ü/ä.bin"):
        store.put(path, path.encode())
    assert [info.path for info in store.list()] == ["a.bin", "b.txt", "b/1.bin", "b/2.bin", "ü/ä.bin"]
    assert [info.path for info in store.list("b")] == ["b/1.bin", "b/2.bin"]
    assert [info.path for info in store.list("b/")] == ["b/1.bin", "b/2.bin"]
    assert store.list("nothing") == []
    assert len(store.list(limit=2)) == 2
    assert all(info == store.stat(info.path) for info in store.list())
    assert {info.path: info.size for info in store.list("b")} == {"b/1.bin": 7, "b/2.bin": 7}


def test_list_follows_links_but_neither_circles_nor_pipes(store: Store, tmp_path: Path) -> None:
    store.put("deep/folder/file", b"1")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "linked").write_bytes(b"12")
    root = tmp_path / "root"
    (root / "circle").symlink_to(root)
    (root / "deep" / "circle").symlink_to(root / "deep")
    (root / "self").symlink_to("self")
    (root / "nowhere").symlink_to("missing")
    (root / "folder").symlink_to(outside)
    (root / "file").symlink_to(outside / "linked")
    os.mkfifo(root / "pipe")
    found = {info.path: info.size for info in store.list()}
    # `circle` is not entered again from the root, and neither is `deep/circle` from `deep`.
    assert found == {"deep/folder/file": 1, "folder/linked": 2, "file": 2}


def test_a_pipe_is_refused_instead_of_waited_for(store: Store, tmp_path: Path) -> None:
    store.put("file", b"1")
    os.mkfifo(tmp_path / "root" / "pipe")
    started = time.monotonic()
    for call in (store.stat, store.read, store.open):
        with pytest.raises(FileNotFoundError, match="root/pipe"):
            call("pipe")
    assert time.monotonic() - started < 2


def test_a_missing_object_is_named(store: Store) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        store.list()
    assert store.uri in str(caught.value)
    assert caught.value.errno == errno.ENOENT
    store.put("file", b"1")
    for call in (
        lambda: store.stat("no/such"),
        lambda: store.read("no/such"),
        lambda: store.open("no/such"),
        lambda: store.read("file/below"),
        lambda: open_store(store.join("file")).list(),
    ):
        with pytest.raises(FileNotFoundError, match=store.uri):
            call()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_missing_rights_are_a_permission_error(store: Store, tmp_path: Path) -> None:
    store.put("folder/file", b"1")
    (tmp_path / "root" / "folder").chmod(0)
    with pytest.raises(PermissionError, match="root"):
        store.read("folder/file")
    (tmp_path / "root" / "folder").chmod(0o700)


# --- reading ---------------------------------------------------------------------------------------------------


def test_ranges(store: Store) -> None:
    store.put("x", bytes(range(100)))
    assert store.read_range("x", 10, 13) == b"\x0a\x0b\x0c"
    assert store.read_range("x", 98, 200) == b"bc"
    assert store.read_range("x", 100, 200) == b""
    assert store.read_range("x", 500, 600) == b""
    assert store.read_range("x", 5, 5) == b""
    for start, stop in ((-1, 5), (5, 4)):
        with pytest.raises(ValueError, match="start"):
            store.read_range("x", start, stop)


def test_read_many_keeps_the_order(store: Store) -> None:
    names = [f"n{i}" for i in range(50)]
    for name in names:
        store.put(name, name.encode())
    found = store.read_many(reversed(names))
    assert list(found) == names[::-1]
    assert found["n17"] == b"n17"
    assert store.read_many([]) == {}
    with pytest.raises(FileNotFoundError, match="none"):
        store.read_many(["n1", "none"])


def test_the_reader_reads_seeks_and_stays_bounded(store: Store) -> None:
    data = os.urandom(30 * 2**20 + 17)
    store.put("big", data)
    with store.open("big", start=1000) as reader:
        assert reader.size == len(data)
        assert reader.tell() == 1000
        position = 1000
        while piece := reader.read(999_983):
            assert piece == data[position : position + 999_983]
            position += len(piece)
            assert len(reader._window) <= READ_AHEAD_MAX  # what "bounded" means
        assert position == len(data) == reader.tell()
        assert reader.seek(-10, os.SEEK_END) == len(data) - 10
        assert reader.read() == data[-10:]
        assert reader.seek(5) == 5
        assert reader.read(3) == data[5:8]
        assert reader.seek(20_000_000, os.SEEK_CUR) == 20_000_008
        assert reader.read(4) == data[20_000_008:20_000_012]
        reader.seek(len(data) + 5)
        assert reader.read(4) == b""
        with pytest.raises(ValueError, match="seek"):
            reader.seek(-1)
    with store.open("big") as reader:
        assert reader.read() == data


def test_the_reader_serves_tarfile(store: Store, tmp_path: Path) -> None:
    source = tmp_path / "member"
    source.write_bytes(os.urandom(3_000_000))
    with tarfile.open(tmp_path / "t.tar", "w") as archive:
        for i in range(4):
            archive.add(source, f"m{i}")
    store.put("t.tar", (tmp_path / "t.tar").read_bytes())
    with store.open("t.tar") as reader, tarfile.open(fileobj=reader) as archive:
        assert [m.name for m in archive] == ["m0", "m1", "m2", "m3"]
        member = archive.extractfile("m2")
        assert member is not None
        assert member.read() == source.read_bytes()


def test_an_object_that_changes_is_never_read_as_a_mixture(store: Store) -> None:
    store.put("x", b"a" * 20_000_000)
    old = store.stat("x").etag
    with store.open("x") as reader:
        assert reader.read(10) == b"a" * 10
        store.put("x", b"b" * 20_000_000)
        with pytest.raises(OSError, match="no longer the one") as caught:
            reader.read(19_999_990)
    assert caught.value.errno == errno.ESTALE
    for call in (
        lambda: store.read("x", etag=old),
        lambda: store.read_range("x", 0, 1, etag=old),
        lambda: store.open("x", etag=old),
    ):
        with pytest.raises(OSError, match="no longer the one"):
            call()
    assert store.read_range("x", 0, 1, etag=store.stat("x").etag) == b"b"


@pytest.mark.parametrize("more", [b"", b"one byte more"])
def test_a_file_written_to_while_it_is_read_is_never_a_mixture(more: bytes, store: Store, tmp_path: Path) -> None:
    store.put("x", b"a" * 1000)
    time.sleep(0.05)  # longer than the step of a file system's clock
    etag = store.stat("x").etag

    def read_in_two() -> None:
        with LocalBackend(str(tmp_path / "root"))._open("x", etag) as (descriptor, _):
            assert os.pread(descriptor, 500, 0) == b"a" * 500
            with open(tmp_path / "root" / "x", "r+b") as file:
                file.write(b"b" * 1000 + more)
            assert os.pread(descriptor, 500, 500) == b"b" * 500

    with pytest.raises(OSError, match="no longer the one") as caught:
        read_in_two()
    assert caught.value.errno == errno.ESTALE


# --- writing ---------------------------------------------------------------------------------------------------


def test_create_never_overwrites(store: Store) -> None:
    assert store.create("a/b", b"first")
    assert not store.create("a/b", b"second")
    assert store.read("a/b") == b"first"
    assert store.put("a/b", b"third") == store.stat("a/b").etag
    assert store.read("a/b") == b"third"
    assert store.create_with_etag("a/c", b"") == store.stat("a/c").etag


def test_one_of_many_creators_wins(store: Store) -> None:
    def attempt(i: int) -> bool:
        return store.create("race", b"%d" % i * 1000)

    with ThreadPoolExecutor(16) as pool:
        won = list(pool.map(attempt, range(64)))
    assert won.count(True) == 1
    assert store.read("race") == b"%d" % won.index(True) * 1000
    assert [info.path for info in store.list()] == ["race"]
    assert os.listdir(store.uri) == ["race"]


def test_folders_come_and_go_with_their_files_under_contention(store: Store) -> None:
    store.put("keep", b"1")

    def come_and_go(i: int) -> bytes:
        path = f"folder/sub/{i}"
        store.put(path, b"%d" % i)
        data = store.read(path)
        store.delete([path])
        return data

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(come_and_go, range(200))) == [b"%d" % i for i in range(200)]
    assert os.listdir(store.uri) == ["keep"]
    store.delete(["keep", "never/was"])
    assert os.path.isdir(store.uri)


def test_files_of_a_killed_writer_are_hidden_and_swept(store: Store, tmp_path: Path) -> None:
    store.put("folder/file", b"1")
    left = tmp_path / "root" / "folder" / ".segfill-0123456789abcdef.tmp"
    left.write_bytes(b"half")
    (tmp_path / "root" / ".segfill-mine").write_bytes(b"a user's own")
    assert [info.path for info in store.list()] == [".segfill-mine", "folder/file"]
    store.sweep()
    assert not left.exists()
    assert (tmp_path / "root" / ".segfill-mine").exists()


@pytest.mark.parametrize("folder_too", [False, True])
def test_a_write_survives_the_sweep_at_the_end_of_another_drivers_run(
    folder_too: bool, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sweep removes its half-written file, and maybe the folder, before the file gets its name."""
    fsync = os.fsync
    swept: list[int] = []

    def swept_meanwhile(descriptor: int) -> None:
        fsync(descriptor)
        if len(swept) < 2 and list((tmp_path / "root" / "folder").glob(".segfill-*")):
            store.sweep()
            swept.append(descriptor)
            if folder_too:
                (tmp_path / "root" / "folder").rmdir()

    monkeypatch.setattr(os, "fsync", swept_meanwhile)
    assert store.create("folder/file", b"whole")
    assert len(swept) == 2
    assert store.read("folder/file") == b"whole"


def test_a_failed_write_leaves_nothing(store: Store, tmp_path: Path) -> None:
    store.put("folder/file", b"1")
    with pytest.raises(OSError, match="root/folder"):
        store.put("folder", b"a file where a folder is")
    with pytest.raises(OSError, match="root/folder/file/below"):
        store.create("folder/file/below", b"2")
    with pytest.raises(OSError, match="too long"):
        store.put("n" * 300, b"3")
    assert sorted(os.listdir(tmp_path / "root")) == ["folder"]
    assert sorted(os.listdir(tmp_path / "root" / "folder")) == ["file"]


@pytest.mark.promise("nothing is written or deleted outside the output, also where links in it lead there")
@pytest.mark.parametrize("where", ["masks", "masks/deep", "masks/deep/er"])
def test_links_inside_are_not_followed_to_write_or_delete(store: Store, tmp_path: Path, where: str) -> None:
    victim = tmp_path / "victim"
    (victim / "deep" / "er").mkdir(parents=True)
    for folder in (victim, victim / "deep", victim / "deep" / "er"):
        (folder / "photo.jpg").write_bytes(b"precious")
    link = tmp_path / "root" / where
    link.parent.mkdir(parents=True)
    link.symlink_to(victim)
    before = sorted(victim.rglob("*"))
    for path in (f"{where}/new", f"{where}/photo.jpg", f"{where}/deep/new", f"{where}/more/new"):
        for call in (lambda p=path: store.put(p, b"evil"), lambda p=path: store.delete([p])):
            with pytest.raises(OSError, match="is a symbolic link, none is followed to write; remove it"):
                call()
    with pytest.raises(OSError, match="is a symbolic link"):
        store.create(f"{where}/new", b"evil")
    assert not store.create(f"{where}/photo.jpg", b"evil")
    store.sweep()
    assert sorted(victim.rglob("*")) == before
    assert (victim / "photo.jpg").read_bytes() == b"precious"


@pytest.mark.promise("nothing is written or deleted outside the output, also where links in it lead there")
def test_a_link_in_the_place_of_a_file_is_replaced_or_removed_itself(store: Store, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    for name in ("put", "create", "delete"):
        store.put(f"folder/{name}.other", b"1")
        (tmp_path / "root" / "folder" / name).symlink_to(victim)
    (tmp_path / "root" / "folder" / "nowhere").symlink_to(tmp_path / "made")
    store.put("folder/put", b"new")
    assert not store.create("folder/create", b"new")
    assert not store.create("folder/nowhere", b"new")
    store.delete(["folder/delete"])
    assert victim.read_bytes() == b"precious"
    assert not (tmp_path / "made").exists()
    assert (tmp_path / "root" / "folder" / "put").read_bytes() == b"new"
    assert not (tmp_path / "root" / "folder" / "put").is_symlink()
    assert not (tmp_path / "root" / "folder" / "delete").is_symlink()


def test_the_root_itself_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "disk")
    open_store(str(tmp_path / "out")).put("a/b", b"1")
    assert (tmp_path / "disk" / "a" / "b").read_bytes() == b"1"


def test_the_probe_leaves_nothing(store: Store) -> None:
    assert store.probe_conditional_create()
    assert os.listdir(store.uri) == []


def test_a_store_is_pickled_as_its_uri(store: Store) -> None:
    store.put("x", b"1")
    other = pickle.loads(pickle.dumps(store))
    assert other == store
    assert other.read("x") == b"1"
    assert len(pickle.dumps(store)) < 300


# --- gs, az ----------------------------------------------------------------------------------------------------


class Replaced(MemoryFileSystem):  # type: ignore[misc]
    """Each object is replaced just before it is read."""

    def cat_file(self, path: str, start: int | None = None, end: int | None = None) -> bytes:
        self.pipe_file(path, b"9876543210")
        return bytes(super().cat_file(path, start=start, end=end))


def test_an_object_of_any_file_system_that_is_replaced_while_it_is_read_is_refused() -> None:
    backend = CloudBackend(Replaced(skip_instance_cache=True), "cloud-test/replaced")
    calls: list[Callable[[str], bytes]] = [
        lambda etag: backend.read("x", etag),
        lambda etag: backend.read_range("x", 2, 5, etag),
    ]
    for call in calls:
        backend.put("x", b"0123456789")
        etag = backend.stat("x").etag
        with pytest.raises(OSError, match="no longer the one") as caught:
            call(etag)
        assert caught.value.errno == errno.ESTALE
    backend.delete(["x"])


def test_any_fsspec_file_system_with_exclusive_writes_will_do() -> None:
    backend = CloudBackend(MemoryFileSystem(skip_instance_cache=True), "cloud-test/prefix")
    backend.put("a/b", b"0123456789")
    etag = backend.stat("a/b").etag
    assert backend.create("a/c", b"first")
    assert backend.create("a/c", b"second") == ""
    assert backend.read("a/c", "") == b"first"
    assert backend.read_range("a/b", 2, 5, etag) == b"234"
    assert backend.read_range("a/b", 8, 50, "") == b"89"
    assert backend.read_range("a/b", 50, 60, "") == b""
    assert sorted((i.path, i.size) for i in backend.list("", 0)) == [("a/b", 10), ("a/c", 5)]
    assert [i.path for i in backend.list("nothing", 0)] == []
    backend.put("a/b", b"other")
    with pytest.raises(OSError, match="no longer the one"):
        backend.read("a/b", etag)
    backend.delete(["a/b", "a/c", "a/d"])
    assert backend.list("", 0) == []
    with pytest.raises(FileNotFoundError):
        backend.stat("a/b")


def test_the_missing_package_of_a_cloud_is_named() -> None:
    with pytest.raises(ConfigError, match="pip install gcsfs"):
        open_store("gs://bucket/x").list()


# --- large objects and links -----------------------------------------------------------------------------------


def test_an_open_file_is_put_from_its_start(store: Store) -> None:
    with tempfile.TemporaryFile() as file:
        file.write(b"0123456789" * 300_000)
        file.seek(17)
        store.put("a/large.json", b"before")
        etag = store.put_file("a/large.json", file)
    assert store.read("a/large.json") == b"0123456789" * 300_000
    assert store.stat("a/large.json").etag == etag


def test_a_cloud_takes_an_open_file_too() -> None:
    backend = CloudBackend(MemoryFileSystem(), "bucket/files")
    with tempfile.TemporaryFile() as file:
        file.write(b"large")
        backend.put_file("large.json", file)
    assert backend.read("large.json", "") == b"large"


def test_a_link_is_made_and_replaced_and_leaves_nothing_behind(store: Store, tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(b"photo")
    store.link("a/photo.jpg", "/nowhere")
    store.link("a/photo.jpg", str(tmp_path / "photo.jpg"))
    assert store.read("a/photo.jpg") == b"photo"
    assert os.listdir(f"{store.uri}/a") == ["photo.jpg"]
    with pytest.raises(OSError, match="holds no links"):
        open_store("s3://bucket").link("a", "/b")
