"""Read only the first images of a source: `limit=N`, a first look that a later run resumes to the whole.

A unit that would go beyond the limit is cut; the next run goes on behind it. Rows are counted, rejected ones included.
A sample of a tar is not cut, so there may be a few rows more.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from pipeline.contracts import Source
from pipeline.records import EncodedImage, Shard, UnitBatch
from pipeline.source.unit import UnitLimits


@dataclass(frozen=True)
class First:
    """source: of the whole. rows: shard path -> rows that are still to be read of it."""

    source: Source
    rows: Mapping[str, int]

    @property
    def uri(self) -> str:
        return self.source.uri

    def shards(self) -> tuple[Shard, ...]:
        return self.source.shards()

    def resolve(self, shards: Sequence[Shard]) -> First:
        return replace(self, source=self.source.resolve(shards))

    def probe(self, shards: Sequence[Shard]) -> None:
        self.source.probe(shards)

    def units(self, shard: Shard, done: Mapping[int, int]) -> Iterator[UnitBatch[EncodedImage]]:
        """As contracts.Source says, up to the rows of this shard."""
        left, read = self.rows.get(shard.path, 0), dict(done)
        for batch in self.source.units(shard, done) if left else ():
            if len(batch.items) > left and isinstance(self.source, UnitLimits):
                batch = next(iter(replace(self.source, unit_images=left).units(shard, read)))
            yield batch
            read[batch.unit.start] = batch.unit.stop
            left -= len(batch.items)
            if left <= 0:
                return


def count_rows(source: Source, shard: Shard, done: Mapping[int, int], most: int) -> int:
    """Count the rows of a shard that are not committed, up to `most`. A tar or a Parquet file is read for it. Raises
    OSError."""
    if shard.members and not done:
        return min(sum(not member.sidecar for member in shard.members), most)
    rows = 0
    for batch in source.units(shard, done):
        rows += len(batch.items)
        if rows >= most:
            break
    return min(rows, most)
