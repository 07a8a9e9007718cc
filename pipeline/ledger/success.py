"""Writes and reads `_run/SUCCESS.json`: the totals of a finished run."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pipeline.errors import RunError
from pipeline.records import Committed, Counts


@dataclass(frozen=True, kw_only=True, slots=True)
class Finished:
    """Totals of a finished run. restored, removed: objects that `Ledger.finish` mended; not in the file."""

    digest: str
    units: int
    files: int
    counts: Counts
    rejects: Mapping[str, int]
    segments: Mapping[str, int]
    restored: int = 0
    removed: int = 0


def totals(digest: str, records: Iterable[Committed], *, restored: int = 0, removed: int = 0) -> Finished:
    """Sum up the commit records of the run with this digest."""
    units = files = 0
    counts = Counts()
    rejects: Counter[str] = Counter()
    segments: Counter[str] = Counter()
    for record in records:
        units += 1
        files += len(record.files) + len(record.loose)
        counts += record.counts
        for stage, reason, number in record.rejects:
            rejects[f"{stage}/{reason}"] += number
        for label, number in record.segments:
            segments[label] += number
    return Finished(
        digest=digest,
        units=units,
        files=files,
        counts=counts,
        rejects=dict(sorted(rejects.items())),
        segments=dict(sorted(segments.items())),
        restored=restored,
        removed=removed,
    )


def to_json(done: Finished) -> bytes:
    """Return the same bytes for every run of one identity."""
    fields = {
        "digest": done.digest,
        "units": done.units,
        "files": done.files,
        "images": done.counts.images,
        "written": done.counts.written,
        "unchanged": done.counts.unchanged,
        "rejected": done.counts.rejected,
        "rejects": dict(done.rejects),
        "segments": dict(done.segments),
    }
    return json.dumps(fields, indent=1).encode()


def from_json(data: bytes, digest: str, where: str) -> Finished:
    """Read the output of `to_json`. Raises RunError, naming `where`, for anything else or another digest."""
    try:
        found = json.loads(data)
        if found["digest"] != digest:
            raise ValueError("it is of another run")
        return Finished(
            digest=digest,
            units=found["units"],
            files=found["files"],
            counts=Counts(**{key: found[key] for key in ("images", "written", "unchanged", "rejected")}),
            rejects=found["rejects"],
            segments=found["segments"],
        )
    except (ValueError, KeyError, TypeError, AssertionError) as error:
        raise RunError(
            f"{where} cannot be used ({error}); delete that object and run the same command again"
        ) from error
