"""Folds commit records into packs, so that a resume reads one object for a thousand units.

A pack is a copy of records, never the commit: a line of it counts only while the record's own object is listed with
the size and the etag that the line tells. So packs need no care: one that is missing, damaged or doubled costs time
alone, two drivers may each write theirs, and who deletes the record of a unit has its unit done again. The end of a run
writes them anew, all units in the order of their ids, and seals them.

`_packs/<sha256 of its bytes>.gz` holds lines of `unit id <tab> etag <tab> record`.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final

from pipeline.ledger import seals
from pipeline.ledger.commit_records import CommitRecords
from pipeline.storage.store import ObjectInfo, Store

PACKS: Final = "_packs"
COMMITS: Final = "_commit"
A_PACK: Final = 1000
"""Records in a pack that a driver writes on the way."""
AT_THE_END: Final = 1000
"""Records in a pack of a whole run."""
_STATS_AT_ONCE: Final = 16
_READ_AT_ONCE: Final = 16


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """A record in a pack. etag: of its object. data: the bytes of its object."""

    unit_id: str
    etag: str
    data: bytes


@dataclass
class Packer:
    """Collects the records of a run, and writes a pack when there are enough. For the driver alone."""

    store: Store
    _waiting: dict[str, bytes] = field(default_factory=dict)

    def add(self, unit_id: str, data: bytes) -> None:
        """Take the bytes of a record whose object stands. Raises OSError when its pack cannot be written."""
        self._waiting[unit_id] = data
        if len(self._waiting) >= A_PACK:
            packed = pack(self._lines())
            self.store.put(path_of(packed), packed)
            self._waiting = {}

    def _lines(self) -> Iterator[Line]:
        with ThreadPoolExecutor(_STATS_AT_ONCE, thread_name_prefix="etag") as pool:
            etags = pool.map(self._etag, self._waiting, self._waiting.values())
            for (unit_id, data), etag in zip(self._waiting.items(), etags, strict=True):
                if etag:
                    yield Line(unit_id=unit_id, etag=etag, data=data)

    def _etag(self, unit_id: str, data: bytes) -> str:
        """Of the record's object; "" when somebody has deleted it, or put another in its place."""
        if etag := self.store.etag_of(data):
            return etag
        try:
            info = self.store.stat(record_path(unit_id))
        except FileNotFoundError:
            return ""
        return info.etag if info.size == len(data) else ""


def packs_of(records: CommitRecords, listing: Mapping[str, ObjectInfo]) -> Iterator[bytes]:
    """Yield packs of all records of a run: the same ones from every driver. listing: path -> object, of the output."""
    unit_ids = sorted(records)
    for first in range(0, len(unit_ids), AT_THE_END):
        part = unit_ids[first : first + AT_THE_END]
        standing = [(unit_id, info) for unit_id in part if (info := listing.get(record_path(unit_id)))]
        yield pack(Line(unit_id=unit_id, etag=info.etag, data=records.json(unit_id)) for unit_id, info in standing)


def pack(lines: Iterable[Line]) -> bytes:
    """Return the bytes of a pack."""
    text = b"".join(b"\t".join((line.unit_id.encode(), line.etag.encode(), line.data)) + b"\n" for line in lines)
    return gzip.compress(text, compresslevel=1, mtime=0)


def read(store: Store) -> Iterator[Line]:
    """Yield the lines of all packs that are sound. Raises OSError when the store cannot be read."""
    try:
        paths = [info.path for info in store.list(PACKS)]
    except FileNotFoundError:  # no output yet
        return
    for first in range(0, len(paths), _READ_AT_ONCE):
        for path, packed in _present(store, paths[first : first + _READ_AT_ONCE]).items():
            if path == path_of(packed):
                yield from lines_of(packed)


def _present(store: Store, paths: list[str]) -> dict[str, bytes]:
    try:
        return store.read_many(paths)
    except FileNotFoundError:  # somebody tidies up
        return {}


def lines_of(packed: bytes) -> Iterator[Line]:
    """Yield the lines of a pack. Raises ValueError for bytes that are none."""
    try:
        text = gzip.decompress(packed)
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"not a pack of records: {error}") from error
    for line in text.splitlines():
        unit_id, etag, data = line.split(b"\t", 2)
        yield Line(unit_id=unit_id.decode(), etag=etag.decode(), data=data)


def path_of(packed: bytes) -> str:
    """Where a pack of these bytes stands."""
    return f"{PACKS}/{seals.sha256_of(packed)}.gz"


def cuts(unit_ids: Iterable[str], *folders: str) -> list[str]:
    """Return paths that part the objects of these units evenly, in each of the folders: hints for a listing."""
    chosen = sorted(unit_ids)[:: 4 * A_PACK]
    return [f"{folder}/{unit_id}" for folder in folders for unit_id in chosen]


def record_path(unit_id: str) -> str:
    """Where the record of a unit stands."""
    return f"{COMMITS}/{unit_id}.json"
