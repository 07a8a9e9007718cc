"""Commit records with exactly known sums."""

from collections.abc import Mapping

from pipeline.records import Committed, Counts, FileEntry, Unit


def committed(
    unit_id: str = "a-0",
    *,
    written: int = 0,
    unchanged: int = 0,
    rejected: int = 0,
    rejects: tuple[tuple[str, str, int], ...] = (),
    segments: tuple[tuple[str, int], ...] = (),
    seconds: Mapping[str, float] | None = None,
    bytes_in: int = 0,
    shard: str = "a.tar",
    failure: str = "",
    files: tuple[FileEntry, ...] = (),
) -> Committed:
    return Committed(
        unit=Unit(unit_id=unit_id, shard=shard, uri=shard, etag="e", start=0, stop=1, last=True, failure=failure),
        attempt="attempt",
        counts=Counts(images=written + unchanged + rejected, written=written, unchanged=unchanged, rejected=rejected),
        files=files,
        loose=(),
        staged=(),
        rejects=rejects,
        segments=segments,
        seconds=seconds or {},
        bytes_in=bytes_in,
        host="host",
    )
