"""Sums up a run from its commit records: a short table for the terminal, and the exit code. Reads no storage."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from pipeline.contracts import ALL_READ, Unread
from pipeline.credentials import printable
from pipeline.errors import EXIT_OK, EXIT_REJECTED
from pipeline.flow import TIMED
from pipeline.records import Committed, Counts
from pipeline.report.progress import duration

SHOWN: Final = 5
"""Maximum number of reject reasons, labels and shards that the table names; the rest is only counted."""
WRITTEN: Final = ("written", "unchanged")
"""What people are told of the two counts of a run that fills."""
LABELLED: Final = ("labelled", "nothing found")
"""The same of a run that only labels."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Summary:
    """Sums over an output. counts: images. before: images committed before this run. wall: seconds of this run.

    rejects: (stage, reason) -> images, the most frequent first. segments: label -> segments, the most frequent first.
    stages: stage -> seconds, summed over all workers, in the order of the chain. failed: (shard, reason code) of the
    shards that could not be read to their end. bytes_in: encoded bytes. units: number of units. samples: of tars, with
    an image. several: samples with more than one. fields: field of their images -> images, the most frequent first.
    unread: what the source holds and does not read. fills: whether the run changes images; else it labels them.
    """

    counts: Counts
    before: int
    wall: float
    units: int
    bytes_in: int
    rejects: Mapping[tuple[str, str], int]
    segments: Mapping[str, int]
    stages: Mapping[str, float]
    failed: tuple[tuple[str, str], ...]
    samples: int = 0
    several: int = 0
    fields: Mapping[str, int] = field(default_factory=dict)
    unread: Unread = ALL_READ
    fills: bool = True

    @classmethod
    def of(
        cls,
        records: Iterable[Committed],
        *,
        seconds: float,
        before: int = 0,
        unread: Unread = ALL_READ,
        fills: bool = True,
    ) -> Summary:
        """Sum up commit records. seconds: duration of this run. before: images that were committed before it."""
        counts = Counts()
        units = bytes_in = samples = several = 0
        rejects: Counter[tuple[str, str]] = Counter()
        segments: Counter[str] = Counter()
        several_fields: Counter[str] = Counter()
        stages: dict[str, float] = {}
        failed: set[tuple[str, str]] = set()
        for record in records:
            units += 1
            bytes_in += record.bytes_in
            counts += record.counts
            samples += record.unit.samples
            several += record.unit.several
            several_fields.update(record.unit.fields)
            for stage, reason, number in record.rejects:
                rejects[stage, reason] += number
            for label, number in record.segments:
                segments[label] += number
            for stage, spent in record.seconds.items():
                stages[stage] = stages.get(stage, 0.0) + spent
            if record.unit.failure:
                failed.add((record.unit.shard, record.unit.failure))
        return cls(
            counts=counts,
            before=before,
            wall=seconds,
            units=units,
            bytes_in=bytes_in,
            rejects=dict(sorted(rejects.items(), key=lambda pair: (-pair[1], pair[0]))),
            segments=dict(sorted(segments.items(), key=lambda pair: (-pair[1], pair[0]))),
            stages=dict(sorted(stages.items(), key=lambda pair: _position(pair[0]))),
            failed=tuple(sorted(failed)),
            samples=samples,
            several=several,
            fields=dict(sorted(several_fields.items(), key=lambda pair: (-pair[1], pair[0]))),
            unread=unread,
            fills=fills,
        )

    @property
    def fresh(self) -> int:
        """Images that this run committed."""
        return self.counts.images - self.before

    @property
    def images_per_second(self) -> float:
        """Speed of this run including start-up; 0 if it had nothing to do."""
        return self.fresh / self.wall if self.wall > 0 else 0.0

    @property
    def reject_share(self) -> float:
        """Rejected images as a share of all, 0..1."""
        return self.counts.rejected / self.counts.images if self.counts.images else 0.0

    def exit_code(self, max_reject_share: float) -> int:
        """Return 0, or 3 if more than this share (0..1) of the images was rejected or a shard could not be read to its
        end."""
        return EXIT_REJECTED if self.failed or self.reject_share > max_reject_share else EXIT_OK

    @property
    def words(self) -> tuple[str, str]:
        """What people are told of the counts `written` and `unchanged`."""
        return WRITTEN if self.fills else LABELLED

    @property
    def several_images(self) -> str:
        """How many samples hold several images, and in which fields; "" when none does."""
        if not self.several:
            return ""
        return f"{self.several:,} of {self.samples:,} hold several images ({_named(self.fields.items())})"

    def text(self, places: Iterable[tuple[str, str]] = ()) -> str:
        """Return the table for the terminal, without a final line break. places: (name, path) rows at its end."""
        rows = [*self._numbers(*self.words), *self._details()]
        return "\n".join(_aligned([*rows, *((name, "", path) for name, path in places)]))

    def _numbers(self, written: str, unchanged: str) -> list[tuple[str, str, str]]:
        counts = self.counts
        resumed = f"{self.before:,} of them committed by an earlier run" if self.before else ""
        speed = f"{self.images_per_second:.1f}" if self.fresh else "-"
        took = f"{self.fresh:,} in {duration(self.wall)}" if self.fresh else "nothing left to do"
        return [
            ("images in", f"{counts.images:,}", resumed),
            *([("samples", "", self.several_images)] if self.several else []),
            (written, f"{counts.written:,}", ""),
            (unchanged, f"{counts.unchanged:,}", ""),
            ("rejected", f"{counts.rejected:,}", _named((f"{s}: {r}", n) for (s, r), n in self.rejects.items())),
            ("images/s", speed, took),
        ]

    def _details(self) -> list[tuple[str, str, str]]:
        rows = [("segments", f"{sum(self.segments.values()):,}", _named(self.segments.items()))]
        if self.failed:
            named = [f"{shard} ({reason})" for shard, reason in self.failed[:SHOWN]]
            more = [f"and {len(self.failed) - SHOWN:,} more"] if len(self.failed) > SHOWN else []
            rows.append(("failed shards", f"{len(self.failed):,}", ", ".join(named + more)))
        if self.unread.files:
            rows.append(("not read", f"{self.unread.files:,}", self.unread.kinds()))
        return rows


def _position(stage: str) -> tuple[int, str]:
    return (TIMED.index(stage) if stage in TIMED else len(TIMED), stage)


def _named(pairs: Iterable[tuple[str, int]]) -> str:
    """Return `face 18, text 40`, the first few only."""
    all_ = [f"{name} {number:,}" for name, number in pairs]
    return ", ".join(all_[:SHOWN] + ([f"and {len(all_) - SHOWN:,} more"] if len(all_) > SHOWN else []))


def _aligned(rows: list[tuple[str, str, str]]) -> list[str]:
    wide = max(len(name) for name, _, _ in rows)
    numbers = max(len(number) for _, number, _ in rows)
    return [
        printable(f"{name:<{wide}}  {number:>{numbers}}  {rest}" if number else f"{name:<{wide}}  {rest}")
        for name, number, rest in rows
    ]
