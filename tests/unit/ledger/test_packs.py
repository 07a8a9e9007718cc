"""packs.py: many records in one object, each of which counts only while its own object stands."""

from pathlib import Path

import pytest

from pipeline.ledger import packs
from pipeline.ledger.commit_json import to_json
from pipeline.ledger.commit_records import CommitRecords
from pipeline.ledger.ledger import Ledger
from pipeline.records import Committed
from pipeline.storage.store import Store, open_store
from tests.fakes.commit_records import committed

UNITS = [committed(f"u-{number}", written=number, shard=f"{number}.tar") for number in range(5)]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = open_store(str(tmp_path))
    for record in UNITS:
        commit(store, record)
    return store


def commit(store: Store, record: Committed) -> None:
    store.put(packs.record_path(record.unit.unit_id), to_json(record).encode())


def fold(store: Store, records: list[Committed], monkeypatch: pytest.MonkeyPatch, a_pack: int = 5) -> None:
    monkeypatch.setattr(packs, "A_PACK", a_pack)
    packer = Ledger(store).packer()
    for record in records:
        packer.add(record.unit.unit_id, to_json(record).encode())


class Counting(Store):
    """Tells what was read."""

    reads: list[str]

    def __init__(self, uri: str) -> None:
        super().__init__(uri)
        self.reads = []

    def read(self, path: str, *, etag: str = "") -> bytes:
        self.reads.append(path)
        return super().read(path, etag=etag)


def test_a_resume_reads_packs_instead_of_their_records(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    fold(store, UNITS, monkeypatch, a_pack=2)
    assert len(store.list("_packs")) == 2, "the fifth record waits for a sixth"
    counting = Counting(store.uri)
    assert dict(Ledger(counting).committed()) == {record.unit.unit_id: record for record in UNITS}
    assert [path for path in counting.reads if path.startswith("_commit/")] == ["_commit/u-4.json"]


def test_a_unit_whose_record_is_deleted_is_not_committed(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    fold(store, UNITS, monkeypatch)
    store.delete(["_commit/u-3.json"])
    assert sorted(Ledger(store).committed()) == ["u-0", "u-1", "u-2", "u-4"]


@pytest.mark.parametrize("longer", [False, True])
def test_a_record_that_was_made_anew_counts_as_it_is(
    longer: bool, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    fold(store, UNITS, monkeypatch)
    anew = committed("u-3", written=30 if longer else 8, shard="3.tar")  # else of the same size
    store.delete(["_commit/u-3.json"])
    commit(store, anew)
    assert Ledger(store).committed()["u-3"] == anew


def test_a_record_that_is_deleted_while_it_is_folded_is_left_out(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.delete(["_commit/u-3.json"])
    fold(store, UNITS, monkeypatch)
    (info,) = store.list("_packs")
    assert [line.unit_id for line in packs.lines_of(store.read(info.path))] == ["u-0", "u-1", "u-2", "u-4"]


@pytest.mark.parametrize("damage", [b"", b"no gzip at all", None])
def test_a_damaged_pack_is_passed_over(damage: bytes | None, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    fold(store, UNITS, monkeypatch)
    (info,) = store.list("_packs")
    store.put(info.path, store.read(info.path)[:-1] if damage is None else damage)
    assert dict(Ledger(store).committed()) == {record.unit.unit_id: record for record in UNITS}
    with pytest.raises(ValueError, match="not a pack"):
        list(packs.lines_of(b"no gzip at all"))


def test_the_packs_of_a_whole_run_do_not_depend_on_the_order_of_its_units(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packs, "AT_THE_END", 2)
    listing = {info.path: info for info in store.list()}
    made = list(packs.packs_of(CommitRecords(UNITS), listing))
    assert made == list(packs.packs_of(CommitRecords(UNITS[::-1]), listing))
    assert [[line.unit_id for line in packs.lines_of(each)] for each in made] == [
        ["u-0", "u-1"],
        ["u-2", "u-3"],
        ["u-4"],
    ]


def test_cuts_part_the_objects_of_the_units(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packs, "A_PACK", 1)
    assert packs.cuts((f"u-{number}" for number in range(9)), "a", "b/c") == [
        *("a/u-0", "a/u-4", "a/u-8"),
        *("b/c/u-0", "b/c/u-4", "b/c/u-8"),
    ]
