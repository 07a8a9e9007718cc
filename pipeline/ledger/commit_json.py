"""Writes a commit record as JSON, and reads it back."""

from __future__ import annotations

import json
from typing import Any

from pipeline.errors import RunError
from pipeline.ledger.manifest import FORMAT
from pipeline.records import Committed, Counts, FileEntry, Unit


def to_json(record: Committed) -> str:
    """Return one line of ASCII; names from the source that are not UTF-8 survive as escapes."""
    unit, counts = record.unit, record.counts
    fields = {
        "format": FORMAT,
        "unit": {
            "unit_id": unit.unit_id,
            "shard": unit.shard,
            "uri": unit.uri,
            "etag": unit.etag,
            "start": unit.start,
            "stop": unit.stop,
            "last": unit.last,
            "failure": unit.failure,
            "samples": unit.samples,
            "several": unit.several,
            "fields": dict(unit.fields),
        },
        "attempt": record.attempt,
        "counts": {
            "images": counts.images,
            "written": counts.written,
            "unchanged": counts.unchanged,
            "rejected": counts.rejected,
        },
        "files": _entries(record.files),
        "loose": _entries(record.loose),
        "staged": _entries(record.staged),
        "rejects": record.rejects,
        "segments": record.segments,
        "seconds": dict(record.seconds),
        "bytes_in": record.bytes_in,
        "host": record.host,
    }
    return json.dumps(fields, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _entries(entries: tuple[FileEntry, ...]) -> list[dict[str, str | int]]:
    return [{"path": e.path, "size": e.size, "sha256": e.sha256, "etag": e.etag} for e in entries]


def from_json(text: str | bytes, where: str = "a commit record") -> Committed:
    """Read the output of `to_json`. Raises RunError, naming `where`, for anything else."""
    try:
        found = json.loads(text)
        if found["format"] != FORMAT:
            raise ValueError(f"expected format {FORMAT}, got {found['format']!r}")
        unit, counts = found["unit"], found["counts"]
        return Committed(
            unit=Unit(
                unit_id=_text(unit["unit_id"]),
                shard=_text(unit["shard"]),
                uri=_text(unit["uri"]),
                etag=_text(unit["etag"]),
                start=_count(unit["start"]),
                stop=_count(unit["stop"]),
                last=_flag(unit["last"]),
                failure=_text(unit["failure"]),
                samples=_count(unit["samples"]),
                several=_count(unit["several"]),
                fields={_text(name): _count(number) for name, number in unit["fields"].items()},
            ),
            attempt=_text(found["attempt"]),
            counts=Counts(
                images=_count(counts["images"]),
                written=_count(counts["written"]),
                unchanged=_count(counts["unchanged"]),
                rejected=_count(counts["rejected"]),
            ),
            files=_read_entries(found["files"]),
            loose=_read_entries(found["loose"]),
            staged=_read_entries(found["staged"]),
            rejects=tuple((_text(stage), _text(reason), _count(n)) for stage, reason, n in found["rejects"]),
            segments=tuple((_text(label), _count(n)) for label, n in found["segments"]),
            seconds={_text(stage): float(value) for stage, value in found["seconds"].items()},
            bytes_in=_count(found["bytes_in"]),
            host=_text(found["host"]),
        )
    except (ValueError, KeyError, TypeError, AttributeError, AssertionError) as error:
        raise RunError(
            f"{where}: not a commit record ({type(error).__name__}: {error}); delete that object and the same command "
            "does its unit again"
        ) from error


def _read_entries(found: Any) -> tuple[FileEntry, ...]:
    return tuple(
        FileEntry(path=_text(e["path"]), size=_count(e["size"]), sha256=_text(e["sha256"]), etag=_text(e["etag"]))
        for e in found
    )


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"expected text, got {value!r}")
    return value


def _count(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise TypeError(f"expected a whole number from 0, got {value!r}")
    return value


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"expected true or false, got {value!r}")
    return value
