"""Read the rows of a Parquet file from any row on, a few at a time.

Memory holds a page of each column and a few rows. The writer decides the size of a page: pyarrow puts at least 1,024
rows into one, or a whole smaller row group. So files of images should have small row groups, as those of Hugging Face
datasets have (100 rows).
"""

from __future__ import annotations

import io
import os
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import ShardError, one_line
from pipeline.records import Shard
from pipeline.source.stream import changed, open_planned
from pipeline.storage.store import Reader

_COLUMN_BUFFER: Final = 4 << 20  # bytes of a column chunk that one read fetches
_BATCH_BYTES: Final = 8 << 20  # decoded bytes of the rows of one batch
_BATCH_ROWS: Final = 32


@dataclass(frozen=True)
class Row:
    """number: in the file, from 0. cells: a record batch of this row alone. ends_group: it is the last of its row
    group."""

    number: int
    cells: pa.RecordBatch
    ends_group: bool


class ParquetRows:
    """One open file. count: its rows.

    Raises ShardError `parquet_unreadable`, `parquet_corrupt` or `source_changed` (offset: the row), and OSError for an
    error of the store that a retry may mend.
    """

    def __init__(self, shard: Shard) -> None:
        self._shard = shard
        self._input = _ErrorKeepingFile(open_planned(shard))
        try:
            self._file = pq.ParquetFile(
                pa.PythonFile(self._input, mode="r"),
                pre_buffer=False,
                buffer_size=_COLUMN_BUFFER,
                page_checksum_verification=True,
            )
            groups = [self._file.metadata.row_group(i) for i in range(self._file.num_row_groups)]
        except (pa.ArrowException, OSError) as error:
            raise self._failure(error, "parquet_unreadable", 0) from error
        self._starts = [0]
        self._batch_rows: list[int] = []
        for group in groups:
            self._starts.append(self._starts[-1] + group.num_rows)
            fitting = _BATCH_BYTES * group.num_rows // max(group.total_byte_size, 1)
            self._batch_rows.append(min(max(fitting, 1), _BATCH_ROWS))
        self.count: Final[int] = self._starts[-1]
        self.schema: Final[pa.Schema] = self._file.schema_arrow

    def __enter__(self) -> ParquetRows:
        return self

    def __exit__(self, *exception: object) -> None:
        self._file.close()
        self._input.close()

    def read(self, since: int) -> Iterator[Row]:
        """Read the rows from `since` to the end of its row group, which is decoded from its start."""
        group = bisect_right(self._starts, since) - 1
        number, stop = self._starts[group], self._starts[group + 1]
        batches = self._file.iter_batches(self._batch_rows[group], row_groups=[group], use_threads=False)
        while True:
            try:
                batch = next(batches, None)
            except (pa.ArrowException, OSError) as error:
                raise self._failure(error, "parquet_corrupt", max(number, since)) from error
            if batch is None:
                break
            for index in range(max(0, since - number), batch.num_rows):
                yield Row(number + index, batch.slice(index, 1), number + index + 1 == stop)
            number += batch.num_rows
        if number != stop:
            detail = f"row group {group} ends at row {number}, its footer says {stop}; write the file again"
            raise ShardError("parquet_corrupt", detail, offset=number)

    def _failure(self, error: Exception, reason: str, row: int) -> Exception:
        """Turn an error of Arrow into the store's error that caused it, or into one of the file."""
        if self._input.problem is not None:
            return changed(self._shard, self._input.problem) or self._input.problem
        return ShardError(reason, f"{self._shard.uri}: {one_line(error)}; copy or write the file again", offset=row)


class _ErrorKeepingFile(io.RawIOBase):
    """A reader that keeps the error of the store: Arrow raises OSError for corrupt bytes, too."""

    def __init__(self, reader: Reader) -> None:
        super().__init__()
        self.problem: OSError | None = None
        self._reader = reader

    def read(self, size: int | None = -1, /) -> bytes:
        try:
            return self._reader.read(size)
        except OSError as error:
            self.problem = error
            raise

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        return self._reader.seek(offset, whence)

    def tell(self) -> int:
        return self._reader.tell()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def close(self) -> None:
        self._reader.close()
        super().close()
