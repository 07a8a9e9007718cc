"""Plan what is left to do: the source's listing minus the ledger, in a stable order.

Units are found while a shard is read (a tar has no index), so a plan holds shards; each carries the units that are
committed already, and its reader hops over those without reading them.
"""

from __future__ import annotations

import io
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.contracts import Source
from pipeline.errors import RunError
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


def make(shards: Collection[Shard], committed: Collection[Committed]) -> Plan:
    """Plan the shards with work left. A shard is finished when its committed units form an unbroken chain from 0 to one
    that says `last`."""
    by_shard: dict[str, list[Committed]] = {}
    for record in committed:
        by_shard.setdefault(record.unit.shard, []).append(record)
    pending = tuple(
        Pending(shard=shard, done={r.unit.start: r.unit.stop for r in by_shard.get(shard.path, ())})
        for shard in sorted(shards, key=lambda s: s.path)
        if not finished(by_shard.get(shard.path, ()))
    )
    return Plan(
        pending=pending,
        shards=len(shards),
        bytes=sum(s.size for s in shards),
        images=sum(not m.sidecar for s in shards for m in s.members),
        before=sum((r.counts for r in committed), Counts()),
        bytes_before=sum(r.bytes_in for r in committed),
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


def with_keys(plan: Plan, store: Store, committed: Collection[Committed]) -> Plan:
    """Add the keys and members of committed units, from their index tables, to half-done tars and Parquet files: their
    readers hop over these units and must still find what comes again. Raises RunError when a table is gone or
    damaged."""
    half_done = {p.shard.path for p in plan.pending if p.done and not p.shard.members}
    keys: dict[str, list[tuple[int, bytes]]] = {}
    for record in sorted(committed, key=lambda record: record.unit.start):
        if record.unit.shard in half_done:
            keys.setdefault(record.unit.shard, []).append((record.unit.start, _keys(store, record)))
    shards = (replace(p, shard=replace(p.shard, keys=tuple(keys.get(p.shard.path, ())))) for p in plan.pending)
    return replace(plan, pending=tuple(shards))


def _keys(store: Store, record: Committed) -> bytes:
    index = next(entry.path for entry in record.files if entry.path.startswith("images/"))
    try:
        rows = pq.read_table(io.BytesIO(store.read(index)), columns=["key", "member"])
        return packed(zip(rows["key"].to_pylist(), rows["member"].to_pylist(), strict=True))
    except (OSError, pa.ArrowException) as error:
        raise RunError(
            f"{store.join(index)} cannot be read ({' '.join(str(error).split())[:200]}); delete the record of unit "
            f"{record.unit.unit_id} under _commit/ and the same command does it again"
        ) from error


def finished(committed: Collection[Committed]) -> bool:
    """Whether the units of one shard reach from its start to its end without a gap."""
    units = {r.unit.start: r.unit for r in committed}
    position = 0
    while position in units:
        unit = units.pop(position)
        if unit.last:
            return True
        position = unit.stop
    return False
