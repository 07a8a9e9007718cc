"""The committed tables as rows with numbers that stay."""

import json
from pathlib import Path

import pytest

from pipeline.errors import OutputError, RunError
from pipeline.export.tables import is_output, open_tables
from pipeline.image import rle
from pipeline.storage.store import open_store
from tests.fakes.drawn_output import CLASSES, Drawn, pieces, write


def test_every_image_and_segment_has_its_place_in_the_output(tmp_path: Path) -> None:
    tables = open_tables(write(tmp_path, pieces(), unit_images=2))
    rows = [row for place in tables.places for row in tables.rows(place)]
    assert [row.number for row in rows] == list(range(1, 8))
    assert [found.number for row in rows for found in row.found] == list(range(1, 10))
    assert dict(tables.classes) == CLASSES
    assert (tables.images, tables.job, tables.private, len(tables.places)) == (7, "annotate", False, 4)
    assert [(row.member, row.rejected, row.reason) for row in rows if row.rejected] == [("c.jpg", True, "truncated")]
    for row in rows:
        drawn = pieces()[row.member]
        if isinstance(drawn, list):
            assert all(isinstance(each, Drawn) for each in drawn)
            for found, each in zip(row.found, drawn, strict=True):
                assert (rle.decode(found.segment.rle, row.height, row.width) == each.mask).all()


def test_what_is_no_finished_output_is_refused(tmp_path: Path) -> None:
    store = write(tmp_path, {"a.png": (8, 8)})
    assert is_output(store)
    assert not is_output(open_store(str(tmp_path / "in")))
    with pytest.raises(OutputError, match="expected the output of a segfill run"):
        open_tables(open_store(str(tmp_path / "in")))
    store.delete(["_run/SUCCESS.json"])
    with pytest.raises(OutputError, match="not finished"):
        open_tables(store)


def test_a_table_that_lost_rows_is_named(tmp_path: Path) -> None:
    store = write(tmp_path, pieces())
    (first, *_) = store.list("_commit")
    record = json.loads(store.read(first.path))
    record["segments"] = [["cat", 70]]
    store.put(first.path, json.dumps(record).encode())
    tables = open_tables(store)
    with pytest.raises(RunError, match=r"its tables hold 3 images and 4 segments, its commit record says 3 and 70"):
        tables.rows(tables.places[0])
