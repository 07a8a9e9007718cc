"""How far a run is, from the ledger of its output alone: no word with its driver, its cluster or its workers.

A look reads what is committed; speed and time left come from two looks.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from pipeline import plan
from pipeline.errors import OutputError, RunError
from pipeline.ledger import manifest
from pipeline.ledger.ledger import ATTEMPTS, MANIFEST, Ledger
from pipeline.records import Counts
from pipeline.storage.store import Store

_SHOWN: Final = 5
"""Hosts and reasons that are named one by one."""


@dataclass(frozen=True, kw_only=True)
class Planned:
    """What the run set out to do. job: its name. shards, size: of the source, in bytes."""

    job: str
    shards: int
    size: int


@dataclass(frozen=True, kw_only=True)
class Look:
    """at: monotonic seconds. units: committed. shards: finished. size: encoded bytes of images that were read. hosts:
    images by host. trying: by host, attempts at a unit that go on, or whose worker died. finished: it has ended."""

    at: float
    units: int
    shards: int
    size: int
    counts: Counts
    hosts: Mapping[str, int]
    rejects: Mapping[str, int]
    trying: Mapping[str, int] = field(default_factory=dict)
    finished: bool


def planned(store: Store) -> Planned:
    """Read it from the manifest. Raises OutputError where no run has begun."""
    try:
        data = store.read(MANIFEST)
    except FileNotFoundError as error:
        raise OutputError(f"{store.uri}: no run has begun there ({MANIFEST} is missing); check the path") from error
    except OSError as error:
        raise OutputError(f"{store.uri} cannot be read: {error}") from error
    identity = manifest.from_json(data, store.join(MANIFEST))
    sizes = [int(version.partition(":")[0]) for version in identity.source.values()]
    return Planned(job=json.loads(identity.config.get("job", '"run"')), shards=len(sizes), size=sum(sizes))


def look(store: Store) -> Look:
    """Read the ledger as it is now. Raises RunError when it cannot be read."""
    ledger = Ledger(store)
    try:
        finished = ledger.finished()
        trying = {} if finished else _trying(store)
    except OSError as error:
        raise RunError(f"{store.uri} cannot be read: {error}; try again") from error
    spans: dict[str, dict[int, tuple[int, bool]]] = {}
    hosts, rejects = Counter[str](), Counter[str]()
    counts, size, units = Counts(), 0, 0
    for record in ledger.committed().values():
        spans.setdefault(record.unit.shard, {})[record.unit.start] = record.unit.stop, record.unit.last
        hosts[record.host] += record.counts.images
        rejects.update({f"{stage}: {reason}": count for stage, reason, count in record.rejects})
        counts, size, units = counts + record.counts, size + record.bytes_in, units + 1
    return Look(
        at=time.monotonic(),
        units=units,
        shards=sum(map(plan.finished, spans.values())),
        size=size,
        counts=counts,
        hosts=hosts,
        rejects=rejects,
        trying=trying,
        finished=finished,
    )


def _trying(store: Store) -> Counter[str]:
    """Attempts by host. A mark that goes while it is read is of an attempt that has ended."""
    try:
        marks = [info.path for info in store.list(ATTEMPTS)]
    except FileNotFoundError:
        return Counter()
    found = Counter[str]()
    for mark in marks:
        try:
            found[str(json.loads(store.read(mark))["host"])] += 1
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            continue
    return found


def lines(what: Planned, now: Look, before: Look | None = None) -> Iterator[str]:
    """What a look says, for a person. before: an earlier one, for the speed."""
    counts = now.counts
    state = "finished" if now.finished else "not finished"
    yield f"{what.job}, {state}: {now.shards:,} of {what.shards:,} shards, {now.units:,} units committed"
    share = f", {counts.rejected / counts.images:.1%}" if counts.images else ""
    yield (
        f"images     {counts.images:,}: {counts.written:,} written, {counts.unchanged:,} unchanged, "
        f"{counts.rejected:,} rejected{share}"
    )
    if not now.finished:
        yield f"speed      {_speed(what, now, before)}"
    if now.hosts:
        yield f"by host    {_most(now.hosts)}"
    if now.trying:
        yield f"at work    {_most(now.trying)} (attempts that go on, or whose worker died)"
    if now.rejects:
        yield f"rejected   {_most(now.rejects)}"


def _speed(what: Planned, now: Look, before: Look | None) -> str:
    if before is None or now.at <= before.at:
        return "not measured; a second look tells"
    seconds, images = now.at - before.at, now.counts.images - before.counts.images
    text = f"{images / seconds:.1f} images/s over {seconds:.0f} s"
    if images <= 0:
        return f"{text}: nothing was committed meanwhile"
    read, left = now.size - before.size, what.size - now.size
    if read <= 0 or left <= 0:
        return text
    return f"{text}, {now.size / what.size:.0%} of the bytes, about {_spoken(left * seconds / read)} left"


def _spoken(seconds: float) -> str:
    for name, length in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {name}"
    return f"{seconds:.0f} s"


def _most(counted: Mapping[str, int]) -> str:
    """The largest by name, and how many more there are."""
    ordered = sorted(counted.items(), key=lambda each: (-each[1], each[0]))
    named = [f"{name} {count:,}" for name, count in ordered[:_SHOWN]]
    rest = sum(count for _, count in ordered[_SHOWN:])
    return ", ".join([*named, *([f"{len(ordered) - _SHOWN} others {rest:,}"] if rest else [])])
