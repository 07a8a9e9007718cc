"""Reads the Parquet files of chosen units, a few at a time, for the report."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from typing import Final, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.records import Committed
from pipeline.storage.store import Store

AT_ONCE: Final = 16
"""Files that are in memory at one time."""

T = TypeVar("T")


def read_tables(
    store: Store, units: Sequence[Committed], folder: str, columns: list[str] | None = None
) -> Iterator[pa.Table]:
    """Yield the table under `folder` ("masks/") of each unit that has one. columns: None reads all.

    Previews that were deleted after an earlier run are left out. Raises FileNotFoundError for any other missing file.
    """
    paths = [file.path for record in units for file in record.files if file.path.startswith(folder)]
    if paths and folder == "_previews/":
        present = {info.path for info in store.list(folder)}
        paths = [path for path in paths if path in present]
    for first in range(0, len(paths), AT_ONCE):
        chosen = paths[first : first + AT_ONCE]
        contents = store.read_many(chosen)
        for path in chosen:
            yield pq.read_table(io.BytesIO(contents[path]), columns=columns)


def spread(items: Sequence[T], number: int) -> list[T]:
    """Return at most `number` of the items, evenly spread, in order."""
    if len(items) <= number:
        return list(items)
    return [items[(2 * i + 1) * len(items) // (2 * number)] for i in range(number)]
