"""How work travels through Ray Data: a shard as one Arrow row, a unit as one row with one binary cell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import pyarrow as pa

from pipeline.execute.arrow_batch import pack, unpack
from pipeline.ledger.commit_json import from_json, to_json
from pipeline.plan import Pending
from pipeline.records import Committed, Member, Shard, UnitBatch

_SHARD = pa.schema(
    {
        "shard": pa.struct(
            {
                "path": pa.string(),
                "uri": pa.string(),
                "size": pa.int64(),
                "etag": pa.string(),
                "members": pa.list_(
                    pa.struct({"path": pa.string(), "size": pa.int64(), "etag": pa.string(), "problem": pa.string()})
                ),
                "problem": pa.string(),
                "keys": pa.list_(pa.struct({"start": pa.int64(), "hashes": pa.large_binary()})),
            }
        ),
        "starts": pa.list_(pa.int64()),
        "stops": pa.list_(pa.int64()),
    }
)


def shard_row(pending: Pending) -> pa.Table:
    """A shard and what of it is done."""
    done = sorted(pending.done.items())
    keys = [{"start": start, "hashes": hashes} for start, hashes in pending.shard.keys]
    row = {
        "shard": asdict(pending.shard) | {"keys": keys},
        "starts": [a for a, _ in done],
        "stops": [b for _, b in done],
    }
    return pa.Table.from_pylist([row], schema=_SHARD)


def shard_of(row: Mapping[str, Any]) -> tuple[Shard, dict[int, int]]:
    """A row of `shard_row`: the shard, and start to stop of its units that are done."""
    shard = row["shard"]
    members = tuple(Member(**member) for member in shard["members"])
    keys = tuple((unit["start"], unit["hashes"]) for unit in shard["keys"])
    return Shard(**{**shard, "members": members, "keys": keys}), dict(zip(row["starts"], row["stops"], strict=True))


def unit_row(unit: UnitBatch[Any] | Committed) -> pa.Table:
    """A unit on its way, or the record of its commit."""
    data = to_json(unit).encode() if isinstance(unit, Committed) else pack(unit)
    return pa.table({"unit": pa.array([data], pa.large_binary())})


def units_of(table: pa.Table) -> list[UnitBatch[Any]]:
    return [unpack(cell.as_buffer()) for cell in table["unit"]]


def record_of(row: Mapping[str, Any]) -> Committed:
    return from_json(row["unit"].decode())
