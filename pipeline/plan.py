"""Plan what is left to do: the source's listing minus the ledger, in a stable order.

Units are found while a shard is read (a tar has no index), so a plan holds shards; each carries the units that are
committed already, and its reader hops over those without reading them.
"""

from __future__ import annotations

import io
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.contracts import Source
from pipeline.errors import RunError
from pipeline.image.frames import source_row
from pipeline.records import Committed, Counts, Shard
from pipeline.source.first import First, count_rows
from pipeline.source.keys import packed
from pipeline.storage.store import Store


@dataclass(frozen=True, kw_only=True)
class Pending:
    """A shard with work left. done: start -> stop of its committed units."""

    shard: Shard
    done: Mapping[int, int]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """pending: shards with work left, sorted by path. bytes: encoded size of all shards; images: their count when the
    listing tells it (a folder), else 0. before: what was committed when the plan was made."""

    pending: tuple[Pending, ...]
    shards: int
    bytes: int
    images: int
    before: Counts
    bytes_before: int

    @property
    def images_pending(self) -> int | None:
        """Images left to do, or None when only reading can tell."""
        return self.images - self.before.images if self.images else None

    @property
    def bytes_pending(self) -> int:
        return max(0, self.bytes - self.bytes_before)


def make(shards: Collection[Shard], committed: Iterable[Committed]) -> Plan:
    """Plan the shards with work left. A shard is finished when its committed units form an unbroken chain from 0 to one
    that says `last`."""
    spans: dict[str, dict[int, tuple[int, bool]]] = {}
    before, bytes_before = Counts(), 0
    for record in committed:
        unit = record.unit
        spans.setdefault(unit.shard, {})[unit.start] = unit.stop, unit.last
        before, bytes_before = before + record.counts, bytes_before + record.bytes_in
    pending = tuple(
        Pending(shard=shard, done={start: stop for start, (stop, _) in spans.get(shard.path, {}).items()})
        for shard in sorted(shards, key=lambda s: s.path)
        if not finished(spans.get(shard.path, {}))
    )
    return Plan(
        pending=pending,
        shards=len(shards),
        bytes=sum(s.size for s in shards),
        images=sum(not m.sidecar for s in shards for m in s.members),
        before=before,
        bytes_before=bytes_before,
    )


def first(plan: Plan, source: Source, limit: int) -> tuple[Plan, First]:
    """Cut a plan to the first `limit` images in source order, committed ones included. Returns the plan and the source
    that keeps to it. Raises OSError when the source cannot be read."""
    left, rows = limit - plan.before.images, dict[str, int]()
    pending = []
    for each in plan.pending:
        if left <= 0:
            break
        rows[each.shard.path] = count_rows(source, each.shard, each.done, left)
        left -= rows[each.shard.path]
        pending.append(each)
    return replace(plan, pending=tuple(pending), images=plan.before.images + sum(rows.values())), First(source, rows)


def with_keys(plan: Plan, store: Store, committed: Iterable[Committed]) -> Plan:
    """Add the keys and members of committed units, from their index tables, to half-done tars and Parquet files: their
    readers hop over these units and must still find what comes again. Raises RunError when a table is gone or
    damaged."""
    half_done = {p.shard.path for p in plan.pending if p.done and not p.shard.members}
    if not half_done:
        return plan
    keys: dict[str, list[tuple[int, bytes]]] = {}
    for record in committed:
        if record.unit.shard in half_done:
            keys.setdefault(record.unit.shard, []).append((record.unit.start, _keys(store, record)))
    found = {path: tuple(sorted(pairs)) for path, pairs in keys.items()}
    pending = (replace(p, shard=replace(p.shard, keys=found.get(p.shard.path, ()))) for p in plan.pending)
    return replace(plan, pending=tuple(pending))


def _keys(store: Store, record: Committed) -> bytes:
    index = next(entry.path for entry in record.files if entry.path.startswith("images/"))
    try:
        rows = pq.read_table(io.BytesIO(store.read(index)), columns=["key", "member"])
        return packed(map(source_row, rows["key"].to_pylist(), rows["member"].to_pylist()))
    except (OSError, pa.ArrowException) as error:
        raise RunError(
            f"{store.join(index)} cannot be read ({' '.join(str(error).split())[:200]}); delete the record of unit "
            f"{record.unit.unit_id} under _commit/ and the same command does it again"
        ) from error


def finished(spans: Mapping[int, tuple[int, bool]]) -> bool:
    """Whether the committed units of a shard, start -> (stop, last), reach from its start to its end without a gap."""
    position = 0
    for _ in spans:
        if position not in spans:
            return False
        position, last = spans[position]
        if last:
            return True
    return False
