"""commit_records.py: the records of a run in little memory."""

import sys
import tracemalloc
from dataclasses import replace

import pytest

from pipeline.errors import RunError
from pipeline.ledger.commit_json import to_json
from pipeline.ledger.commit_records import CommitRecords
from pipeline.records import FileEntry
from tests.fakes.commit_records import committed


def test_what_is_added_comes_back_as_it_was() -> None:
    one = committed("a-0", written=3, rejected=1, rejects=(("decode", "truncated", 1),), seconds={"decode": 0.1})
    two = replace(committed("b-0", shard="weg/\udcfc.tar"), bytes_in=7)
    records = CommitRecords([one, two])
    assert dict(records) == {"a-0": one, "b-0": two}
    assert records.json("b-0") == to_json(two).encode()
    assert ("a-0" in records, "c" in records, len(records)) == (True, False, 2)
    records.add(replace(one, bytes_in=1))
    assert records["a-0"].bytes_in == 1
    records.remove("a-0")
    assert list(records) == ["b-0"]
    with pytest.raises(KeyError):
        records["a-0"]


def test_bytes_that_are_no_record_are_named_when_they_are_asked_for() -> None:
    records = CommitRecords()
    records.add_json("a-0", b"{}")
    with pytest.raises(RunError, match="unit a-0"):
        records["a-0"]


def test_a_record_takes_a_few_hundred_bytes() -> None:
    tracemalloc.start()
    try:
        records = CommitRecords(
            committed(
                f"part-{number:06}-0123456789",
                written=128,
                files=tuple(
                    FileEntry(
                        path=f"{folder}/part-{number:06}-0123456789-{number * 7919:012x}.parquet",
                        size=number,
                        sha256=f"{number * 104729:064x}",
                        etag=f"{number * 1299709:032x}",
                    )
                    for folder in ("masks", "images", "rendered/filled")
                ),
            )
            for number in range(2000)
        )
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(records) == 2000
    assert held / 2000 < 700, "bytes a unit"
    assert sys.getsizeof(to_json(records["part-000007-0123456789"])) > 700
