"""Keeps the ledger of an output: which run owns it, which units are committed, and whether it is finished.

`_run/manifest.json` identifies the run; `_commit/<unit>.json`, created conditionally, is the commit of a unit;
`_run/SUCCESS.json` states that every unit is present and checked.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, Protocol

from pipeline.errors import OutputError, RunError
from pipeline.ledger import finish_checks, packs, seals, success
from pipeline.ledger import manifest as manifests
from pipeline.ledger.commit_json import from_json, to_json
from pipeline.ledger.commit_records import CommitRecords
from pipeline.ledger.manifest import Identity
from pipeline.ledger.packs import COMMITS, PACKS, Packer, record_path
from pipeline.ledger.success import Finished
from pipeline.records import Committed, Counts, FileEntry, OutputFile, Unit
from pipeline.storage.store import ObjectInfo, Store

__all__ = ["COMMITS", "Finished", "Identity", "Ledger", "UnitOutput", "from_json", "to_json"]

MANIFEST: Final = "_run/manifest.json"
CONFIG: Final = "_run/config.yaml"
SUCCESS: Final = "_run/SUCCESS.json"
REPORT: Final = "report/index.html"
ATTEMPTS: Final = "_attempt"
MAX_ATTEMPTS: Final = 8
"""Maximum number of workers that may die at one unit. Preempted machines count too, so it is not smaller."""
_PUTS_AT_ONCE: Final = 8
_READ_AT_ONCE: Final = 1024
_OF_UNITS: Final = (COMMITS, "images", "masks", "rendered/filled")
"""Folders whose objects are named by their unit."""


class UnitOutput(Protocol):
    """Everything that a worker made of one unit; the sink's `UnitFiles`."""

    @property
    def unit(self) -> Unit: ...
    @property
    def counts(self) -> Counts: ...
    @property
    def files(self) -> Sequence[OutputFile]:
        """Named by their content: the same name means the same bytes."""

    @property
    def loose(self) -> Sequence[OutputFile]:
        """Named by the source; each is also a member, under its path, of a tar in `staged`."""

    @property
    def staged(self) -> Sequence[OutputFile]: ...
    @property
    def rejects(self) -> tuple[tuple[str, str, int], ...]: ...
    @property
    def segments(self) -> tuple[tuple[str, int], ...]: ...


@dataclass(frozen=True, slots=True)
class Ledger:
    """The ledger of one output. Picklable: every worker has a copy.

    single_writer: allow a store without conditional create, because nothing else writes to the output.
    """

    store: Store
    single_writer: bool = field(default=False, kw_only=True)

    # --- the driver, before ----------------------------------------------------------------------------------

    def check(self, identity: Identity) -> bool:
        """Return True if the output belongs to this run, False if it is empty. Writes nothing.

        Raises OutputError if it belongs to another run (naming the differences) or was written in another format, holds
        something else, or cannot be reached.
        """
        with self._refusing("cannot be used"):
            foreign = self._foreign()  # before the manifest, which a concurrent driver may write in between
            manifest = self._manifest()
        if manifest is None:
            if foreign:
                raise OutputError(
                    f"{self.store.uri} is not empty and not an output of ours (it holds {foreign}); choose an empty or "
                    "a new sink.uri"
                )
            return False
        if difference := manifests.differences(manifest, identity):
            raise OutputError(
                f"{self.store.uri} belongs to another run ({difference}); choose another sink.uri, or repeat that "
                "run's settings to resume it"
            )
        return True

    def begin(self, identity: Identity, yaml: str = "") -> bool:
        """Claim the output for this run: True for a new run, False if it resumes. yaml: the config, for people.

        Raises OutputError as `check` does, and for a store without conditional create unless `single_writer`.
        """
        resumes = self.check(identity)
        with self._refusing("cannot be written"):
            if not self.single_writer and not self._is_conditional():
                raise OutputError(
                    f"{self.store.uri}: this store has no conditional create, so two workers could both commit a unit; "
                    "choose another sink.uri, or set sink.single_writer=true if nothing else ever writes there"
                )
            new = not resumes and self._create(MANIFEST, manifests.to_json(identity)) != ""
        if not resumes and not new:
            self.check(identity)  # another driver was faster: refuse unless it is the same run
        with self._refusing("cannot be written"):
            if yaml:
                self._create(CONFIG, yaml.encode())
        return new

    def committed(self) -> CommitRecords:
        """Return the record of every committed unit. One listing; packs first, then concurrent reads of the records
        that stand in none. Raises RunError."""
        records, etags = CommitRecords(), dict[str, str]()
        with self._resumable("cannot read the commits"):
            for line in packs.read(self.store):
                records.add_json(line.unit_id, line.data)
                etags[line.unit_id] = line.etag
            self._update(records, etags)
        return records

    def packer(self) -> Packer:
        """Return what folds the records of this driver's run into packs."""
        return Packer(self.store)

    def _update(self, records: CommitRecords, etags: Mapping[str, str]) -> None:
        """Make copies of some records the records that stand now: drop a copy that does not look like its object, read
        those that are missing. etags: unit id -> etag of its object, where it is known."""
        listing = self._listing(records, COMMITS)
        for unit_id in list(records):
            info, data = listing.get(record_path(unit_id)), records.json(unit_id)
            etag = etags.get(unit_id) or self.store.etag_of(data)
            if not info or info.size != len(data) or etag not in ("", info.etag):
                records.remove(unit_id)
        left = [path for path in listing if path[len(COMMITS) + 1 : -len(".json")] not in records]
        for first in range(0, len(left), _READ_AT_ONCE):
            for path, data in self.store.read_many(left[first : first + _READ_AT_ONCE]).items():
                unit_id = from_json(data, self.store.join(path)).unit.unit_id
                if path != record_path(unit_id):
                    raise RunError(f"{self.store.join(path)} is the record of unit {unit_id}; delete that object")
                records.add_json(unit_id, data)

    def _listing(self, units: Iterable[str], folder: str = "") -> dict[str, ObjectInfo]:
        """Return path -> object, of a folder or of all. units: ids of some, so that a large listing goes in parts."""
        try:
            found = self.store.list(folder, cuts=packs.cuts(units, *([folder] if folder else _OF_UNITS)))
        except FileNotFoundError:
            return {}
        return {info.path: info for info in found}

    # --- a worker --------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def attempt(self, unit: Unit, part: str) -> Iterator[int]:
        """Count the attempts at a part of the chain on a unit: yield 1 at first, more if earlier attempts killed their
        process. Only a death leaves a mark; an exception removes its own.

        Raises RunError after MAX_ATTEMPTS deaths.
        """
        marks = [f"{ATTEMPTS}/{unit.unit_id}-{part}-{number}.json" for number in range(1, MAX_ATTEMPTS + 1)]
        note = json.dumps({"host": socket.gethostname(), "pid": os.getpid(), "attempt": uuid.uuid4().hex}).encode()
        with self._resumable(f"cannot note an attempt at unit {unit.unit_id}"):
            number = next((number for number, mark in enumerate(marks, 1) if self._created(mark, note)), 0)
        if not number:
            raise RunError(
                f"unit {unit.unit_id} of {unit.shard}: {MAX_ATTEMPTS} workers died at its {part}, the last ones with "
                f"one image at a time; find the cause, then delete {self.store.join(ATTEMPTS)} to try again"
            )
        try:
            yield number
        except BaseException:
            with contextlib.suppress(OSError):  # the user must see the error that ended the attempt
                self.store.delete(marks[number - 1 : number])
            raise
        with self._resumable(f"cannot end the attempt at unit {unit.unit_id}"):
            self.store.delete(marks[:number])

    def publish(self, output: UnitOutput, seconds: Mapping[str, float], *, bytes_in: int = 0) -> Committed:
        """Upload a unit's files and commit it. Return the valid record: another worker's if that was faster.

        The seconds of the upload are added to those of `commit`. A process killed here leaves either nothing valid, or
        a commit whose loose files `finish` completes. Raises RunError.
        """
        unit, path, started = output.unit, record_path(output.unit.unit_id), time.perf_counter()
        with self._resumable(f"cannot commit unit {unit.unit_id}"):
            if self._exists(path):  # lost the race, perhaps after the run's end: upload nothing
                return from_json(self.store.read(path), self.store.join(path))
            staged = tuple(self._upload(file) for file in output.staged)
            files = tuple(self._upload(file) for file in output.files)
            own = Committed(
                unit=unit,
                attempt=uuid.uuid4().hex,
                counts=output.counts,
                files=files,
                loose=tuple(_entry(file, self.store.etag_of(file.data)) for file in output.loose),
                staged=staged,
                rejects=output.rejects,
                segments=output.segments,
                seconds={**seconds, "commit": seconds.get("commit", 0.0) + time.perf_counter() - started},
                bytes_in=bytes_in,
                host=socket.gethostname(),
            )
            if self._create(path, to_json(own).encode()):
                standing = own
            else:  # lost the race; or won it, and the answer was lost
                standing = from_json(self.store.read(path), self.store.join(path))
            if standing.attempt == own.attempt:
                self._put_all(output.loose)
            else:
                self._withdraw(own, standing)
        return standing

    def _upload(self, file: OutputFile) -> FileEntry:
        """Put a content-addressed object, unless one with the same bytes exists."""
        etag = self._create(file.path, file.data)
        if not etag:
            with contextlib.suppress(FileNotFoundError):  # the loser of a race may have withdrawn it
                if seals.sha256_of(self.store.read(file.path)) == file.sha256:
                    etag = self.store.stat(file.path).etag
        return _entry(file, etag or self.store.put(file.path, file.data))

    def _put_all(self, files: Sequence[OutputFile]) -> None:
        if files:
            with ThreadPoolExecutor(_PUTS_AT_ONCE, thread_name_prefix="loose") as pool:
                list(pool.map(lambda file: self.store.put(file.path, file.data), files))

    def _withdraw(self, own: Committed, standing: Committed) -> None:
        """Delete the files of a losing attempt that the winner does not name. After the run's end no staged tar is
        valid."""
        keep = standing.files if self.finished() else (*standing.files, *standing.staged)
        named = {entry.path for entry in keep}
        self.store.delete([e.path for e in (*own.files, *own.staged) if e.path not in named])

    # --- the driver, after -----------------------------------------------------------------------------------

    def finished(self) -> bool:
        """Return whether `finish` has completed."""
        return self._exists(SUCCESS)

    def reported(self) -> bool:
        """Return whether the report page and its seal are present."""
        return self._exists(REPORT) and self._exists(seals.REPORT)

    def report(self, page: bytes) -> None:
        """Put the run's page and its seal. An existing page is kept: pages of two drivers differ in their times."""
        with self._resumable("cannot write the report"):
            standing = page if self._create(REPORT, page) else self.store.read(REPORT)
            seals.seal(self.store, seals.REPORT, {REPORT: seals.sha256_of(standing)})

    def finish(self, notes: Mapping[str, bytes] = MappingProxyType({}), held: CommitRecords | None = None) -> Finished:
        """Check every commit, complete the loose files, remove unreferenced objects, write the notes, seal them and the
        records, and write SUCCESS.json. notes: path -> bytes, of what the whole run is to be read with. held: the
        records that the driver has, which then are not read again.

        Raises RunError that names the shard, unit or file that is missing or different. A second call returns the
        result of the first.
        """
        with self._resumable("cannot finish"):
            manifest = self._manifest()
            if manifest is None:
                raise RunError(
                    f"{self.store.uri}: no run was started there ({MANIFEST} is missing); start the run again"
                )
            if not self.finished():
                try:
                    return self._end(manifest, notes, CommitRecords() if held is None else held)
                except (OSError, RunError):
                    if not self.finished():  # else another driver finished the run meanwhile
                        raise
            return success.from_json(self.store.read(SUCCESS), manifest.digest, self.store.join(SUCCESS))

    def _end(self, manifest: Identity, notes: Mapping[str, bytes], records: CommitRecords) -> Finished:
        self._update(records, {})
        finish_checks.check_chains(records.values(), manifest.source)
        finish_checks.check_names(records.values())
        listing = self._listing(records)
        finish_checks.require(self.store, listing, records.values())
        restored = finish_checks.restore_loose(self.store, listing, records.values())
        junk = finish_checks.unreferenced(listing, records.values())
        self.store.delete(junk)
        self.store.sweep()
        finished = success.totals(manifest.digest, records.values(), restored=restored, removed=len(junk))
        end = success.to_json(finished)
        for path, data in notes.items():
            self.store.put(path, data)
        digests = {path: seals.sha256_of(data) for path, data in {**self._begun(), **notes, SUCCESS: end}.items()}
        digests |= {record_path(unit_id): seals.sha256_of(records.json(unit_id)) for unit_id in records}
        digests |= self._packed(records, listing)
        seals.seal(self.store, seals.RUN, digests)
        self._create(SUCCESS, end)
        return finished

    def _packed(self, records: CommitRecords, listing: Mapping[str, ObjectInfo]) -> dict[str, str]:
        """Put the packs of a whole run in place of those that its drivers wrote. Returns path -> sha256."""
        digests = {}
        for packed in packs.packs_of(records, listing):
            path = packs.path_of(packed)
            if path not in listing:
                self.store.put(path, packed)
            digests[path] = seals.sha256_of(packed)
        self.store.delete([path for path in listing if path.startswith(f"{PACKS}/") and path not in digests])
        return digests

    # --- inside ----------------------------------------------------------------------------------------------

    def _manifest(self) -> Identity | None:
        try:
            return manifests.from_json(self.store.read(MANIFEST), self.store.join(MANIFEST))
        except FileNotFoundError:
            return None

    def _begun(self) -> dict[str, bytes]:
        """Return the objects that `begin` wrote; a run without a `yaml` has no config."""
        found = {MANIFEST: self.store.read(MANIFEST)}
        with contextlib.suppress(FileNotFoundError):
            found[CONFIG] = self.store.read(CONFIG)
        return found

    def _is_conditional(self) -> bool:
        """Probe for conditional create. Twice: a concurrent driver that finishes the run may remove a probe."""
        with contextlib.suppress(FileNotFoundError):
            if self.store.probe_conditional_create("_run"):
                return True
        return self.store.probe_conditional_create("_run")

    def _foreign(self) -> str:
        """Return the path of an object that is not a probe, or ""."""
        try:
            found = [info.path for info in self.store.list(limit=100)]
        except FileNotFoundError:
            if self.store.is_local:  # the first write makes the folder; a bucket must exist
                return ""
            raise
        return next((path for path in found if not path.startswith("_run/probe-")), "")

    def _create(self, path: str, data: bytes) -> str:
        """Create an object; return its etag, or "" if it exists."""
        if not self.single_writer:
            return self.store.create_with_etag(path, data)
        return "" if self._exists(path) else self.store.put(path, data)

    def _created(self, path: str, data: bytes) -> bool:
        """Create an object with unique bytes; True also if it was created and the answer was lost."""
        if self._create(path, data):
            return True
        with contextlib.suppress(FileNotFoundError):
            return self.store.read(path) == data
        return False

    def _exists(self, path: str) -> bool:
        try:
            self.store.stat(path)
        except FileNotFoundError:
            return False
        return True

    @contextlib.contextmanager
    def _refusing(self, what: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise OutputError(f"sink.uri={self.store.uri} {what}: {error}") from error

    @contextlib.contextmanager
    def _resumable(self, what: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise RunError(f"{what}: {error}; the same command resumes the run") from error


def _entry(file: OutputFile, etag: str) -> FileEntry:
    return FileEntry(path=file.path, size=len(file.data), sha256=file.sha256, etag=etag)
