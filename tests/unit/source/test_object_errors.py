from __future__ import annotations

import errno
from pathlib import Path

import pytest

from pipeline.source import object_errors
from pipeline.source.object_errors import of_one_object
from pipeline.storage.store import Store, open_store

NO_RIGHT = PermissionError(errno.EACCES, "Permission denied")


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setattr(object_errors, "_witnesses", {})
    store = open_store(str(tmp_path / "root"))
    for name in ("a", "b", "d/c"):
        store.put(name, b"1")
    return store


def closing(monkeypatch: pytest.MonkeyPatch, *closed: str) -> list[str]:
    """Refuse to read these paths; return the list of all that are tried."""
    tried: list[str] = []
    read_range = Store.read_range

    def refusing(self: Store, path: str, start: int, stop: int, *, etag: str = "") -> bytes:
        tried.append(path)
        if path in closed:
            raise NO_RIGHT
        return read_range(self, path, start, stop, etag=etag)

    monkeypatch.setattr(Store, "read_range", refusing)
    return tried


def reason(store: Store, path: str, error: OSError) -> str:
    found = of_one_object(store, path, error)
    return found[0] if found else ""


def test_no_right_is_of_one_object_only_where_another_can_be_read(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = closing(monkeypatch, "a", "b")
    assert reason(store, "a", NO_RIGHT) == "no_read_right"
    assert reason(store, "b", NO_RIGHT) == "no_read_right"
    assert tried == ["b", "d/c", "d/c"]  # the witness is asked again: after each failure
    closing(monkeypatch, "a", "b", "d/c")
    assert reason(store, "a", NO_RIGHT) == ""


def test_the_only_object_has_no_witness(store: Store) -> None:
    store.delete(["b", "d/c"])
    assert reason(store, "a", NO_RIGHT) == ""


def test_an_archived_object_needs_none(store: Store) -> None:
    store.delete(["b", "d/c"])
    assert reason(store, "a", OSError(errno.ENODATA, "archived")) == "archived"


def test_a_missing_object_of_a_store_that_is_gone_is_no_change(store: Store, tmp_path: Path) -> None:
    gone = FileNotFoundError(errno.ENOENT, "no such file")
    assert reason(store, "x", gone) == "source_changed"
    assert reason(store, "x", OSError(errno.ESTALE, "another etag")) == "source_changed"
    store.delete(["a", "b", "d/c"])
    assert reason(store, "x", gone) == ""  # an empty mount point
    (tmp_path / "root").rmdir()
    assert reason(store, "x", gone) == ""


def test_any_other_error_is_of_the_store(store: Store) -> None:
    assert reason(store, "a", OSError(errno.EIO, "input/output error")) == ""
