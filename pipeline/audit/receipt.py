"""What does the privacy receipt say, and does a run pass it? Numbers, a bound on what was missed, a verdict."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Annotated, Final

from pydantic import Field

from pipeline.credentials import printable
from pipeline.errors import ConfigError, RunError
from pipeline.spec import Share, spec

PATH: Final = "audit/receipt.json"
SIZES: Final = (32, 64, 128)
"""Bounds of the size buckets above the least face: the longer side of a found box in pixels of the published image."""
_NAMED: Final = 5


@spec
class AuditLimits:
    """How much an audit inspects, which detections count, and what passes."""

    sample: Annotated[int, Field(ge=0)] | Share = 100
    """Images to inspect: their number, taken from at most 64 tars or tables, or with a decimal point their share (1.0:
    all); 0 turns the audit off."""
    score: Share = 0.95
    """Minimum score of a detection; below it MTCNN takes wheels and the like for faces."""
    min_face_px: Annotated[int, Field(ge=0)] = 20
    """Minimum longer side of a face in pixels; smaller ones are reported but pass. EN 62676-4 asks for 125 pixels a
    metre to recognise a person: 20 pixels across a face."""
    max_residual: Share = 0.0
    """Maximum share of the inspected images that may still show a face; above it the exit code is 3."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A face that is still found, or metadata that is still there. side, score, the middle x, y: of a face; else 0."""

    image: str
    what: str
    side: int = 0
    score: float = 0.0
    x: int = 0
    y: int = 0


@dataclass(frozen=True, kw_only=True)
class Canaries:
    """Known faces that went through the same flow. planted: that the auditor sees beforehand. left: that it sees
    afterwards. note: why none was planted."""

    planted: int = 0
    left: int = 0
    note: str = "none planted"


@dataclass(frozen=True, kw_only=True)
class Receipt:
    """published: images under `rendered/`, in `opened` of its `containers` (tars and tables) and loose. audited: those
    that were looked at. faces: one a detection of at least `limits.min_face_px`, the surest first; small: those below.
    metadata: one an image. unreadable: images that could not be looked at. detector: who looked."""

    published: int = 0
    containers: int = 0
    opened: int = 0
    audited: int = 0
    limits: AuditLimits = field(default_factory=AuditLimits)
    faces: tuple[Finding, ...] = ()
    small: tuple[Finding, ...] = ()
    metadata: tuple[Finding, ...] = ()
    unreadable: tuple[Finding, ...] = ()
    canaries: Canaries = field(default_factory=Canaries)
    detector: str = "MTCNN"

    @property
    def share(self) -> float:
        """Of the audited images, those with a face that counts."""
        return _images(self.faces) / self.audited if self.audited else 0.0

    @property
    def bound(self) -> float:
        """With 95 % confidence no more than this share of the run's images still shows this detector a face. It says
        nothing about faces that the detector cannot see."""
        return bound(_images(self.faces), self.audited)

    def sizes(self) -> dict[str, tuple[int, int, float]]:
        """Size bucket -> detections, images, and the bound on the share of such images."""
        least = self.limits.min_face_px
        edges = [least, *(size for size in SIZES if size > least), math.inf]
        found: dict[str, Sequence[Finding]] = {f"< {least} px": self.small}
        for low, high in itertools.pairwise(edges):
            name = f">= {low} px" if high == math.inf else f"{low} to {high - 1} px"
            found[name] = [face for face in self.faces if low <= face.side < high]
        return {
            name: (len(faces), _images(faces), bound(_images(faces), self.audited)) for name, faces in found.items()
        }

    def problems(self) -> tuple[str, ...]:
        """Why it does not pass; nothing when it does."""
        found = []
        if self.share > self.limits.max_residual:
            worst = max(self.faces, key=lambda face: face.side)
            found.append(
                f"{self.detector} still finds a face in {_images(self.faces)} of {self.audited} images, more than "
                f"audit.max_residual={self.limits.max_residual:g} (the largest: {worst.what} in {worst.image})"
            )
        if self.canaries.left:
            found.append(f"{self.canaries.left} of {self.canaries.planted} canary faces were not removed")
        for findings, what in ((self.metadata, "metadata in"), (self.unreadable, "unreadable:")):
            if findings:
                found.append(f"{what} {len(findings)} images (first: {findings[0].image}: {findings[0].what})")
        return tuple(found)

    def rows(self) -> Iterator[tuple[str, str]]:
        """For a person: what, and how much of it."""
        if not self.audited:
            yield "audit", "nothing was published, nothing was looked at"
            return
        some = f" in {self.opened:,} of {self.containers:,} files" if self.opened < self.containers else ""
        verdict = "did not pass" if self.problems() else "passed"
        yield "audit", f"{verdict}: {self.audited:,} of {self.published:,} images{some}"
        yield (
            "faces left",
            f"{len(self.faces):,} in {_images(self.faces):,} images ({self.detector}, score from "
            f"{self.limits.score:g}); at most {self.bound:.2%} of all images (95 %)",
        )
        for size, (faces, images, most) in self.sizes().items():
            note = "; below what can be recognised, not counted" if size.startswith("<") else ""
            yield f"  {size}", f"{faces:,} in {images:,} images; at most {most:.2%}{note}"
        kept = self.canaries
        yield "canaries", f"{kept.planted - kept.left} of {kept.planted} faces removed" if kept.planted else kept.note
        yield "metadata", f"in {len(self.metadata):,} images"
        if self.unreadable:
            yield "unreadable", f"{len(self.unreadable):,} images"
        for group in (self.faces, self.small, self.metadata, self.unreadable):
            for finding in group[:_NAMED]:
                yield "", f"{finding.image}: {finding.what}"

    def text(self) -> str:
        return "\n".join(printable(f"{name:<14} {value}") for name, value in self.rows())

    def json(self) -> bytes:
        sizes = {
            name: {"faces": faces, "images": images, "bound": most}
            for name, (faces, images, most) in self.sizes().items()
        }
        facts = {
            **asdict(self), "share": self.share, "bound": self.bound, "sizes": sizes, "problems": self.problems()
        }  # fmt: skip
        return (json.dumps(facts, indent=1) + "\n").encode()


def read(data: bytes, where: str) -> Receipt:
    """A receipt as `json` wrote it. Raises RunError."""
    try:
        facts = json.loads(data)
        lists = {
            key: tuple(Finding(**finding) for finding in facts[key])
            for key in ("faces", "small", "metadata", "unreadable")
        }
        return Receipt(
            published=facts["published"],
            containers=facts["containers"],
            opened=facts["opened"],
            audited=facts["audited"],
            detector=facts["detector"],
            limits=AuditLimits(**facts["limits"]),
            canaries=Canaries(**facts["canaries"]),
            **lists,
        )
    except (ValueError, KeyError, TypeError, ConfigError) as error:
        raise RunError(f"{where}: no receipt of ours ({error}); delete it and audit again") from error


def bound(hits: int, tries: int) -> float:
    """The share that `hits` of `tries` makes unlikely to be passed: 95 %, one-sided.

    Rule of three when there is none (Hanley and Lippman-Hand 1983), else exact (Clopper and Pearson 1934).
    """
    if not tries:
        return 1.0
    if not hits:
        return min(1.0, 3 / tries)
    low, high = hits / tries, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if _at_most(hits, tries, middle) > 0.05 else (low, middle)
    return high


def _at_most(hits: int, tries: int, share: float) -> float:
    """The probability of at most `hits` of `tries`, 0 < share < 1."""
    if share >= 1:
        return float(hits >= tries)
    logs = (
        math.lgamma(tries + 1) - math.lgamma(k + 1) - math.lgamma(tries - k + 1)
        + k * math.log(share) + (tries - k) * math.log1p(-share)
        for k in range(hits + 1)
    )  # fmt: skip
    return math.fsum(math.exp(log) for log in logs)


def _images(findings: Sequence[Finding]) -> int:
    return len({finding.image for finding in findings})
