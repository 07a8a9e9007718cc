"""Verifies that a finished output is what its run wrote. Reads every byte again and trusts no etag.

Checks the seals (seals.py) and the objects that they name; the commit records among themselves (every shard covered
without gap or overlap, sums as in SUCCESS.json); every file of every record; in each unit the tables against each other
and the index against the published images; and that nothing else is under the output.
"""

from __future__ import annotations

import io
import tarfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final

import pyarrow.parquet as pq

from pipeline.errors import OutputError, RunError
from pipeline.ledger import finish_checks, packs, seals, success
from pipeline.ledger import manifest as identity
from pipeline.ledger.commit_json import from_json
from pipeline.ledger.ledger import CONFIG, MANIFEST, REPORT, SUCCESS
from pipeline.ledger.packs import COMMITS, PACKS
from pipeline.records import Committed, FileEntry
from pipeline.storage.store import ObjectInfo, Store

UNITS_AT_ONCE: Final = 4
"""Units that are checked at one time; one object of each is in memory."""

_AGAIN: Final = "the run's command does the rest again"
_EXTRA: Final = "delete it or move it out of the output"
_SEAL_AGAIN: Final = f"delete it and {SUCCESS}: the run's command checks all and seals it again"
_NOTES: Final = ("README.md", "classes.json")
_MEND: Final[Mapping[str, str]] = {
    MANIFEST: "put a copy of it back, or run into a new output",
    **dict.fromkeys(_NOTES, f"delete it and {SUCCESS}: the run's command checks all and writes both again"),
    CONFIG: f"put a copy of it back, or delete it and {SUCCESS}: it is for people, no run reads it",
    SUCCESS: "delete it: the run's command checks all and writes it again",
    REPORT: "delete it: the run's command writes it again",
    seals.RUN: _SEAL_AGAIN,
    seals.REPORT: f"delete it and {REPORT}: the run's command writes both again",
    seals.AUDIT: "run segfill audit again",
}


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One fault of an output. path: of the object. what: is wrong. mend: what to do."""

    path: str
    what: str
    mend: str

    def __str__(self) -> str:
        return f"{self.path}: {self.what}; {self.mend}"


@dataclass(frozen=True, kw_only=True)
class Output:
    """A finished output. sealed: path -> sha256; empty if the seal is broken."""

    store: Store
    listing: Mapping[str, ObjectInfo]
    sealed: Mapping[str, str]


@dataclass(kw_only=True)
class Records:
    """Commit records of an output. sound: as they were sealed. known: every path that a readable record names. broken:
    unit ids of the others; files that only these name cannot be judged."""

    sound: list[Committed] = field(default_factory=list)
    known: set[str] = field(default_factory=set)
    broken: set[str] = field(default_factory=set)


def check(store: Store) -> Iterator[Fault]:
    """Yield every fault of a finished output. Raises OutputError if it is not one, or of another format; OSError if the
    store cannot be read."""
    try:
        objects = store.list(odd=True)
    except FileNotFoundError as error:
        raise OutputError(str(error)) from error
    listing = {info.path: info for info in objects if not info.problem}
    if SUCCESS not in listing:
        raise OutputError(_unfinished(store, listing))
    yield from (Fault(path=o.path, what=f"is not a file ({o.problem})", mend=_EXTRA) for o in objects if o.problem)
    sealed, faults = _seal(store, listing, seals.RUN)
    yield from faults
    output = Output(store=store, listing=listing, sealed=sealed)
    if MANIFEST in listing and sealed.get(MANIFEST) == _sha256(output, MANIFEST):
        identity.from_json(store.read(MANIFEST), store.join(MANIFEST))  # refuses an output of another format
    yield from _sealed(output, [path for path in sealed if not path.startswith(f"{COMMITS}/")])
    records = Records()
    yield from _records(output, records)
    if not records.broken:
        yield from _whole(output, records.sound)
    with ThreadPoolExecutor(UNITS_AT_ONCE, thread_name_prefix="rehash") as pool:
        for found in pool.map(lambda record: list(_unit(output, record)), records.sound):
            yield from found
    late: set[str] = set()
    for path in (seals.REPORT, seals.AUDIT):
        if path == seals.REPORT or path in listing or _named_by(path, listing):
            digests, faults = _seal(store, listing, path)
            yield from faults
            yield from _sealed(Output(store=store, listing=listing, sealed=digests), list(digests))
            late |= {path, *(digests or _named_by(path, listing))}
    yield from _extra(output, records, late)


def _unfinished(store: Store, listing: Mapping[str, ObjectInfo]) -> str:
    if MANIFEST in listing or any(path.startswith(f"{COMMITS}/") for path in listing):
        return f"{store.join(SUCCESS)} is missing: this run is not finished; repeat its command to finish it"
    return f"{store.uri} is not an output of ours ({MANIFEST} is missing); check the uri"


# --- what no commit record names -------------------------------------------------------------------------------


def _seal(store: Store, listing: Mapping[str, ObjectInfo], path: str) -> tuple[dict[str, str], list[Fault]]:
    """Return a seal's hashes, or none and the fault."""
    if path not in listing:
        return {}, [Fault(path=path, what="is missing", mend=_MEND[path])]
    try:
        return seals.read(path, store.read(path)), []
    except ValueError as error:
        return {}, [Fault(path=path, what=f"is damaged ({error})", mend=_MEND[path])]


def _sealed(output: Output, paths: Sequence[str]) -> Iterator[Fault]:
    """Yield sealed objects that are missing or have other bytes."""
    for path in paths:
        if path not in output.listing:
            what = "is missing"
        elif _sha256(output, path) != output.sealed[path]:
            what = "has other bytes than were sealed"
        else:
            continue
        of_pack = _SEAL_AGAIN if path.startswith(f"{PACKS}/") else f"delete it: {_AGAIN}"
        yield Fault(path=path, what=what, mend=_MEND.get(path, of_pack))


def _named_by(seal: str, listing: Mapping[str, ObjectInfo]) -> list[str]:
    """Return the objects of a broken seal's folder."""
    folder = {seals.REPORT: "report/", seals.AUDIT: "audit/"}[seal]
    return [path for path in listing if path.startswith(folder)]


# --- the records -----------------------------------------------------------------------------------------------


def _records(output: Output, records: Records) -> Iterator[Fault]:
    """Read every commit record into `records`."""
    paths = {path for path in (*output.listing, *output.sealed) if path.startswith(f"{COMMITS}/")}
    for first in range(0, len(paths), _READ_AT_ONCE):
        part = sorted(paths)[first : first + _READ_AT_ONCE]
        found = output.store.read_many([path for path in part if path in output.listing])
        for path in part:
            yield from _record(output, records, path, found.get(path))


_READ_AT_ONCE: Final = 1024


def _record(output: Output, records: Records, path: str, data: bytes | None) -> Iterator[Fault]:
    unit = path.removeprefix(f"{COMMITS}/").removesuffix(".json")
    if output.sealed and path not in output.sealed:
        yield Fault(path=path, what="is not a record of this run", mend=_EXTRA)
        return
    what = ""
    if data is None:
        what = "is missing"
    else:
        try:
            record = from_json(data)
        except RunError:
            what = "is not a commit record"
        else:
            records.known |= {entry.path for entry in (*record.files, *record.loose)}
            if output.sealed and seals.sha256_of(data) != output.sealed[path]:
                what = "is not the record that was sealed"
            elif record.unit.unit_id != unit:
                what = f"is the record of unit {record.unit.unit_id}"
            else:
                records.sound.append(record)
    if what:
        records.broken.add(unit)
        yield Fault(
            path=path,
            what=f"{what}, so the files of its unit cannot be judged",
            mend=f"delete it and {SUCCESS}: the run's command does the unit again",
        )


def _whole(output: Output, records: Sequence[Committed]) -> Iterator[Fault]:
    """Check that the records cover the source and sum up to SUCCESS.json: finds faults of the run itself."""
    try:
        manifest = identity.from_json(output.store.read(MANIFEST), MANIFEST)
    except (OutputError, FileNotFoundError):
        if not output.sealed:  # otherwise a fault of its seal already
            yield Fault(path=MANIFEST, what="is missing or not a manifest of ours", mend=_MEND[MANIFEST])
        return
    for what in (*finish_checks.chain_faults(records, manifest.source), *finish_checks.name_faults(records)):
        yield Fault(path=COMMITS, what=what, mend="run into a new output")
    right = success.to_json(success.totals(manifest.digest, records))
    if output.store.read(SUCCESS) != right and output.sealed.get(SUCCESS, "") in ("", _sha256(output, SUCCESS)):
        yield Fault(path=SUCCESS, what="is not the sum of the commit records", mend=_MEND[SUCCESS])


def _sha256(output: Output, path: str) -> str:
    return seals.sha256_of(output.store.read(path))


# --- one unit --------------------------------------------------------------------------------------------------


@dataclass(kw_only=True)
class _Tables:
    """Content of a unit's files. images: rows of the index. segments: image id -> rows in `masks/`. published: (path,
    member) -> sha256 of the image; several if a key occurs more than once."""

    images: list[dict[str, Any]] = field(default_factory=list)
    segments: Counter[str] = field(default_factory=Counter)
    published: dict[tuple[str, str], set[str]] = field(default_factory=dict)


def _unit(output: Output, record: Committed) -> Iterator[Fault]:
    """Check every file of the unit; if all are sound, also against each other."""
    mend = f"delete {COMMITS}/{record.unit.unit_id}.json and {SUCCESS}: the run's command does the unit again"
    tables, sound = _Tables(), True
    for entry in (*record.files, *record.loose):
        if what := _file(output, entry, tables, loose=entry in record.loose):
            sound = False
            yield Fault(path=entry.path, what=f"{what} (unit {record.unit.unit_id})", mend=mend)
    if sound:
        for path, what in _disagreements(record, tables):
            yield Fault(path=path, what=f"{what} (unit {record.unit.unit_id})", mend=mend)


def _file(output: Output, entry: FileEntry, tables: _Tables, *, loose: bool) -> str:
    """Return the fault of an object, or ""; add its content to `tables`."""
    info = output.listing.get(entry.path)
    if info is None:
        return "is missing"
    if info.size != entry.size:
        return f"has {info.size} bytes instead of {entry.size}"
    try:
        data = output.store.read(entry.path)
    except FileNotFoundError:
        return "is missing"
    if seals.sha256_of(data) != entry.sha256:
        return "has other bytes than were committed"
    if loose:
        tables.published[entry.path, ""] = {entry.sha256}
    elif entry.path.startswith("images/"):
        tables.images = pq.read_table(io.BytesIO(data), columns=_INDEX).to_pylist()
    elif entry.path.startswith("masks/"):
        tables.segments = Counter(pq.read_table(io.BytesIO(data), columns=["image_id"])["image_id"].to_pylist())
    elif entry.path.endswith(".tar"):
        _add_tar(entry.path, data, tables)
    elif entry.path.startswith("rendered/"):
        _add_parquet(entry.path, data, tables)
    return ""


_INDEX: Final = ["image_id", "unit", "status", "n_segments", "output", "output_member", "output_sha256", "outputs"]


def _add_tar(path: str, data: bytes, tables: _Tables) -> None:
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        for member in archive:
            if file := archive.extractfile(member):
                digest = seals.sha256_of(file.read())
                tables.published.setdefault((path, member.name), set()).add(digest)


def _add_parquet(path: str, data: bytes, tables: _Tables) -> None:
    for batch in pq.ParquetFile(io.BytesIO(data)).iter_batches(batch_size=16, columns=["key", "image"]):
        for key, image in zip(batch["key"].to_pylist(), batch["image"].to_pylist(), strict=True):
            tables.published.setdefault((path, key), set()).add(seals.sha256_of(image["bytes"]))


def _disagreements(record: Committed, tables: _Tables) -> Iterator[tuple[str, str]]:
    """Yield where the tables of a unit contradict its record, each other or the published images."""
    index = next(entry.path for entry in record.files if entry.path.startswith("images/"))
    masks = next(entry.path for entry in record.files if entry.path.startswith("masks/"))
    counted = Counter(row["status"] for row in tables.images)
    counts = record.counts
    recorded = {"written": counts.written, "unchanged": counts.unchanged, "rejected": counts.rejected}
    if +counted != +Counter(recorded):
        yield index, f"has {dict(counted)} images where the record says {recorded}"
    if len({row["image_id"] for row in tables.images}) != len(tables.images):
        yield index, "has an image twice"
    segments = {row["image_id"]: row["n_segments"] for row in tables.images if row["status"] != "rejected"}
    if {image: number for image, number in segments.items() if number} != dict(tables.segments):
        yield masks, "does not hold the segments that the index counts"
    for row in tables.images:
        first = {"path": row["output"], "member": row["output_member"], "sha256": row["output_sha256"]}
        outputs = [first, *row["outputs"]] if row["output"] else row["outputs"]
        if row["status"] == "rejected" and outputs:
            yield index, f"names an output of the rejected image {row['image_id']}"
            continue
        for path, member, digest in sorted({(o["path"], o["member"], o["sha256"]) for o in outputs}):
            if digest not in tables.published.get((path, member), ()):
                image = f"{row['image_id']} {member}".rstrip()
                yield path, f"does not hold the image {image} that the index names"


# --- what else is there ----------------------------------------------------------------------------------------


def _extra(output: Output, records: Records, late: set[str]) -> Iterator[Fault]:
    known = records.known | late | {seals.RUN, SUCCESS, MANIFEST, CONFIG, *_NOTES, *output.sealed}
    for path in output.listing:
        if path in known or path.startswith(f"{COMMITS}/") or _of_broken(path, records):
            continue
        if path.startswith(f"{PACKS}/") and _is_copy(output, path):
            continue
        yield Fault(path=path, what="is not named by any record", mend=_EXTRA)


def _is_copy(output: Output, path: str) -> bool:
    """Whether a pack holds what was sealed: another driver may fold its last records after the one that ended the
    run."""
    data = output.store.read(path)
    if path != packs.path_of(data):
        return False
    if not output.sealed:  # a fault already
        return True
    try:
        lines = list(packs.lines_of(data))
    except ValueError:
        return False
    return all(output.sealed.get(packs.record_path(one.unit_id)) == seals.sha256_of(one.data) for one in lines)


def _of_broken(path: str, records: Records) -> bool:
    """Return whether only a broken record could name this object. Loose files do not carry the id of their unit."""
    folder, _, name = path.rpartition("/")
    addressed = folder in ("masks", "images", "_previews")
    return (
        name.rpartition("-")[0] in records.broken
        if addressed
        else bool(records.broken) and path.startswith("rendered/")
    )
