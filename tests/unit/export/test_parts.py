"""An export is whole or not there: killed anywhere and resumed, it has the same bytes."""

from pathlib import Path

import pytest

from pipeline.errors import OutputError, RunError
from pipeline.export.parts import Document, Part, Parts, Stream
from pipeline.storage.store import Store, open_store

UNITS = ["a-0", "b-0", "c-0"]
DOCUMENT = Document(path="all.json", pieces=("[", Stream(name="rows"), "]"))


class Killed(BaseException):
    """As a signal: nothing catches it."""


class Fragile(Store):
    """A store whose process dies before the n-th write."""

    def __init__(self, uri: str, writes: int) -> None:
        super().__init__(uri)
        self.writes = writes

    def _count(self) -> None:
        self.writes -= 1
        if self.writes < 0:
            raise Killed

    def create_with_etag(self, path: str, data: bytes) -> str:
        self._count()
        return super().create_with_etag(path, data)

    def put(self, path: str, data: bytes) -> str:
        self._count()
        return super().put(path, data)


def export(store: Store) -> None:
    parts = Parts(store)
    if parts.begin({"run": "r"}):
        parts.tidy()
        return
    for unit in UNITS:
        if unit not in parts.done():
            store.put(f"files/{unit}.txt", unit.encode())
            parts.put(unit, Part(lines={"rows": [f'"{unit}"'] * (unit != "b-0")}, counts={"n": 1}))
    parts.finish({"identity": {"run": "r"}, "sha256": parts.join(DOCUMENT, UNITS)})


def contents(store: Store) -> dict[str, bytes]:
    return {info.path: store.read(info.path) for info in store.list()}


def test_killed_before_any_write_and_resumed_it_is_the_same(tmp_path: Path) -> None:
    whole = open_store(str(tmp_path / "whole"))
    export(whole)
    assert contents(whole)["all.json"] == b'["a-0",\n"c-0"]'
    assert sorted(contents(whole)) == ["all.json", "export.json", *(f"files/{unit}.txt" for unit in UNITS)]
    for writes in range(9):
        store = open_store(str(tmp_path / str(writes)))
        if writes < 8:
            with pytest.raises(Killed):
                export(Fragile(store.uri, writes))
            assert Parts(store).whole() is None
        export(store)
        assert contents(store) == contents(whole), writes
        export(store)
        assert contents(store) == contents(whole)


def test_another_export_and_foreign_files_are_refused(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "a"))
    Parts(store).begin({"run": "r", "format": "coco"})
    with pytest.raises(OutputError, match=r"another export \(format: 'coco' there, 'yolo' now\)"):
        Parts(store).begin({"run": "r", "format": "yolo"})
    Parts(store).finish({"identity": {"run": "r", "format": "coco"}})
    with pytest.raises(OutputError, match="another export"):
        Parts(store).begin({"run": "r", "format": "yolo"})
    assert Parts(store).begin({"run": "r", "format": "coco"})
    other = open_store(str(tmp_path / "b"))
    other.put("photo.jpg", b"mine")
    with pytest.raises(OutputError, match=r"not an export of ours \(it holds photo.jpg\)"):
        Parts(other).begin({})
    other.put("export.json", b"[]")
    with pytest.raises(OutputError, match="no summary of an export"):
        Parts(other).begin({})


def test_a_damaged_part_is_named(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    store.put("_export/parts/a-0.json", b"{")
    with pytest.raises(RunError, match=r"a-0.json: not a part of an export"):
        list(Parts(store).each(["a-0"]))
