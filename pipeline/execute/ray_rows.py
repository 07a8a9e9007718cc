"""How a unit travels through Ray Data: as one Arrow row with one binary cell."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from pipeline.execute.arrow_batch import pack, unpack
from pipeline.ledger.commit_json import from_json, to_json
from pipeline.records import Committed, UnitBatch


def unit_row(unit: UnitBatch[Any] | Committed) -> pa.Table:
    """A unit on its way, or the record of its commit."""
    data = to_json(unit).encode() if isinstance(unit, Committed) else pack(unit)
    return pa.table({"unit": pa.array([data], pa.large_binary())})


def units_of(table: pa.Table) -> list[UnitBatch[Any]]:
    return [unpack(cell.as_buffer()) for cell in table["unit"]]


def record_of(row: Mapping[str, Any]) -> Committed:
    return from_json(row["unit"].decode())
