from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline import plan as planning
from pipeline.records import Committed, Counts, UnitBatch
from pipeline.source.auto import Auto
from pipeline.source.first import First
from tests.fakes.tar_samples import tar_of

IMAGES = 12
"""In each of two shards, or in a folder of as many files."""


def put(folder: Path, kind: str) -> str:
    names = [f"{i:02d}" for i in range(2 * IMAGES)]
    folder.mkdir()
    if kind == "folder":
        for name in names:
            (folder / f"{name}.jpg").write_bytes(name.encode())
            (folder / f"{name}.txt").write_bytes(b"caption")
    for shard in (0, IMAGES) if kind != "folder" else ():
        part = names[shard : shard + IMAGES]
        if kind == "tar":
            (folder / f"{shard}.tar").write_bytes(tar_of([(f"{name}.jpg", name.encode()) for name in part]))
        else:
            pq.write_table(
                pa.table({"image": [n.encode() for n in part]}), folder / f"{shard}.parquet", row_group_size=7
            )
    return str(folder)


def committed(batch: UnitBatch[Any]) -> Committed:
    count = Counts(images=len(batch.items), unchanged=len(batch.items))
    return Committed(
        unit=batch.unit, attempt="", counts=count, files=(), loose=(), staged=(), rejects=(), segments=(), seconds={},
        bytes_in=0, host="",
    )  # fmt: skip


def run(source: Auto, records: list[Committed], limit: int) -> list[bytes]:
    """Read what a run with this limit reads, add its records, return the images."""
    shards = source.shards()
    plan, resolved = planning.make(shards, records), source.resolve(shards)
    reader: Any = resolved
    if limit:
        plan, reader = planning.first(plan, resolved, limit)
        assert isinstance(reader, First)
    read = []
    for pending in plan.pending:
        for batch in reader.units(pending.shard, pending.done):
            records.append(committed(batch))
            read += [item.data for item in batch.items]
    return read


@pytest.mark.promise("A run with a limit does the first images, and the same command without it does the rest")
@pytest.mark.parametrize("kind", ["folder", "tar", "parquet"])
@pytest.mark.parametrize("limits", [(1, 0), (5, 0), (5, 13, 0), (12, 0), (13, 0), (24, 0), (99, 0), (3, 4, 5, 0)])
def test_the_first_images_and_then_the_rest(kind: str, limits: tuple[int, ...], tmp_path: Path) -> None:
    source = Auto(uri=put(tmp_path / "in", kind), unit_images=5)
    every = [f"{i:02d}".encode() for i in range(2 * IMAGES)]
    records: list[Committed] = []
    read: list[bytes] = []
    for limit in limits:
        read += run(source, records, limit)
        assert read == every[: limit or None]
    assert planning.make(source.shards(), records).pending == ()
    assert run(source, records, 7) == []
