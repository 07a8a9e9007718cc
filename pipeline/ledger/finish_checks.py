"""Checks at the end of a run that every committed object is present and unchanged, and lists uncommitted ones."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Final

from pipeline.errors import RunError
from pipeline.records import Committed, FileEntry
from pipeline.storage.store import ObjectInfo, Store

_HASHES_AT_ONCE: Final = 4
_PIECE: Final = 4 * 2**20
_RECORDS_AT_ONCE: Final = 1000
_OURS: Final = ("masks/", "images/", "rendered/", "_previews/", "_staged/", "_attempt/", "_run/probe-")
"""Folders whose objects are valid only if a commit record names them."""


def check_chains(records: Iterable[Committed], shards: Iterable[str]) -> None:
    """Raise RunError with the first of the `chain_faults`."""
    for fault in chain_faults(records, shards):
        raise RunError(f"{fault}; the same command resumes it")


def chain_faults(records: Iterable[Committed], shards: Iterable[str]) -> Iterator[str]:
    """Yield every violation, naming shard or unit: units cover each shard from 0 to one marked `last`, without gap or
    overlap, and each unit counts its rejects right."""
    by_shard: dict[str, list[tuple[int, int, bool, str]]] = {shard: [] for shard in shards}
    for record in records:
        unit = record.unit
        if sum(count for _, _, count in record.rejects) != record.counts.rejected:
            yield f"unit {unit.unit_id}: {record.counts} does not fit its rejects {record.rejects}"
        if unit.shard in by_shard:
            by_shard[unit.shard].append((unit.start, unit.stop, unit.last, unit.unit_id))
        else:
            yield f"unit {unit.unit_id} is of {unit.shard}, which is no shard of this run's source"
    for shard, chain in by_shard.items():
        position, ended = 0, False
        for start, stop, last, unit_id in sorted(chain):
            if ended or start != position:
                what = "an overlap" if ended or start < position else "a gap"
                yield f"{shard}: {what} in its units at {position} ({unit_id})"
            position, ended = stop, last
        if not ended:
            yield f"{shard}: not done beyond position {position}"


def check_names(records: Iterable[Committed]) -> None:
    """Raise RunError with the first of the `name_faults`."""
    for fault in name_faults(records):
        raise RunError(f"{fault}; run into a new output with sink.images=tar")


def name_faults(records: Iterable[Committed]) -> Iterator[str]:
    """Yield every name that two units claim for different bytes, of which one would be lost."""
    claimed: dict[str, tuple[str, str]] = {}
    for record in records:
        for entry in (*record.files, *record.loose):
            sha256, unit = claimed.setdefault(entry.path, (entry.sha256, record.unit.unit_id))
            if sha256 != entry.sha256:
                yield (
                    f"{entry.path} is claimed by unit {unit} and by unit {record.unit.unit_id} with different content"
                )


def faults(
    store: Store, listing: Mapping[str, ObjectInfo], entries: Iterable[FileEntry]
) -> Iterator[tuple[FileEntry, str]]:
    """Yield entries whose object is missing or has other bytes, each with its fault.

    Where etags prove content (object stores), the recorded etag in the listing suffices; otherwise the bytes are read
    and hashed, a few objects at a time, each in pieces.
    """
    doubtful = []
    for entry in entries:
        info = listing.get(entry.path)
        if info is None:
            yield entry, "is missing"
        elif info.size != entry.size:
            yield entry, f"has {info.size} bytes instead of {entry.size}"
        elif not (store.proves_content and entry.etag and info.etag == entry.etag):
            doubtful.append(entry)
    with ThreadPoolExecutor(_HASHES_AT_ONCE, thread_name_prefix="verify") as pool:
        for entry, sha256 in zip(doubtful, pool.map(lambda entry: _sha256(store, entry.path), doubtful), strict=True):
            if sha256 != entry.sha256:
                yield entry, "has other bytes than were committed"


def _sha256(store: Store, path: str) -> str:
    digest = hashlib.sha256()
    with store.open(path) as reader:
        while piece := reader.read(_PIECE):
            digest.update(piece)
    return digest.hexdigest()


def restore_loose(store: Store, listing: Mapping[str, ObjectInfo], records: Iterable[Committed]) -> int:
    """Put loose files that are missing or different again, from the unit's staged tar; return their number. Raises
    RunError where the staged tar is gone or damaged."""
    restored = 0
    for part in _parts(records):
        home = {entry.path: record for record in part for entry in record.loose}
        broken: dict[str, list[tuple[FileEntry, str]]] = {}
        for entry, fault in faults(store, listing, {e.path: e for r in home.values() for e in r.loose}.values()):
            broken.setdefault(home[entry.path].unit.unit_id, []).append((entry, fault))
        for damaged in broken.values():
            _restore(store, home[damaged[0][0].path], damaged)
        restored += sum(map(len, broken.values()))
    return restored


def _restore(store: Store, record: Committed, damaged: Iterable[tuple[FileEntry, str]]) -> None:
    staged = _unpacked(store, record)
    for entry, fault in damaged:
        data = staged.get(entry.path, b"")
        if hashlib.sha256(data).hexdigest() != entry.sha256:
            raise RunError(f"{store.join(entry.path)} {fault} and its staged copy is gone; {_AGAIN}")
        store.put(entry.path, data)


def _parts(records: Iterable[Committed]) -> Iterator[list[Committed]]:
    """Some records at a time, so that a run of any size is checked in the memory of one part."""
    left = iter(records)
    while part := list(islice(left, _RECORDS_AT_ONCE)):
        yield part


def _unpacked(store: Store, record: Committed) -> dict[str, bytes]:
    """Return name -> bytes of all members of the unit's staged tars; {} if they are gone."""
    members: dict[str, bytes] = {}
    for entry in record.staged:
        try:
            data = store.read(entry.path)
        except FileNotFoundError:
            continue
        if hashlib.sha256(data).hexdigest() != entry.sha256:
            raise RunError(f"{store.join(entry.path)} has other bytes than were committed; {_AGAIN}")
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            for member in archive:
                if file := archive.extractfile(member):
                    members[member.name] = file.read()
    return members


_AGAIN: Final = "delete the unit's record under _commit/ and the same command does it again"


def require(store: Store, listing: Mapping[str, ObjectInfo], records: Iterable[Committed]) -> None:
    """Raise RunError for the first file of a commit record that is missing or different."""
    for part in _parts(records):
        units = {entry.path: record.unit.unit_id for record in part for entry in record.files}
        entries = {entry.path: entry for record in part for entry in record.files}
        for entry, fault in faults(store, listing, entries.values()):
            raise RunError(f"{store.join(entry.path)} of unit {units[entry.path]} {fault}; {_AGAIN}")


def unreferenced(listing: Iterable[str], records: Iterable[Committed]) -> list[str]:
    """Return the objects that no commit record names, where only committed ones may be; staged tars included."""
    left = {path for path in listing if path.startswith(_OURS)}
    for record in records:
        left.difference_update(entry.path for entry in (*record.files, *record.loose))
    return sorted(left)
