"""Holds the privacy receipt: its numbers, an upper bound on missed faces, and the verdict."""

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
    """A remaining face, or remaining metadata. side: longer side of a face; x, y: its centre, in pixels; score: of the
    detection. All four are 0 for metadata."""

    image: str
    what: str
    side: int = 0
    score: float = 0.0
    x: int = 0
    y: int = 0


@dataclass(frozen=True, kw_only=True)
class Canaries:
    """Known faces that went through the same flow. planted: those that the detector finds before. left: those that it
    still finds after. note: why none was planted."""

    planted: int = 0
    left: int = 0
    note: str = "none planted"


@dataclass(frozen=True, kw_only=True)
class Receipt:
    """The result of an audit. published: images under `rendered/`, loose and in `opened` of its `containers` (tars and
    tables). audited: number of inspected images. faces: detections of at least `limits.min_face_px`, the highest score
    first; small: those below. metadata: one finding an image. unreadable: images that could not be decoded."""

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
        """Share of the inspected images with a face that counts."""
        return _images(self.faces) / self.audited if self.audited else 0.0

    @property
    def bound(self) -> float:
        """Upper bound (95 % confidence) on the share of the run's images in which this detector still finds a face. It
        says nothing about faces that the detector cannot find."""
        return bound(_images(self.faces), self.audited)

    def sizes(self) -> dict[str, tuple[int, int, float]]:
        """Return size bucket -> detections, images, and the bound on the share of such images."""
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
        """Return the reasons why it does not pass; empty if it passes."""
        found = []
        if self.share > self.limits.max_residual:
            largest = max(self.faces, key=lambda face: face.side)
            found.append(
                f"{self.detector} still finds a face in {_images(self.faces)} of {self.audited} images, more than "
                f"audit.max_residual={self.limits.max_residual:g} (the largest: {largest.what} in {largest.image})"
            )
        if self.canaries.left:
            found.append(f"{self.canaries.left} of {self.canaries.planted} canary faces were not removed")
        for findings, what in ((self.metadata, "metadata in"), (self.unreadable, "unreadable:")):
            if findings:
                found.append(f"{what} {len(findings)} images (first: {findings[0].image}: {findings[0].what})")
        return tuple(found)

    def rows(self) -> Iterator[tuple[str, str]]:
        """Yield the rows of its table for people: name and value."""
        if not self.audited:
            yield "audit", "no image was published, none was inspected"
            return
        some = f" in {self.opened:,} of {self.containers:,} files" if self.opened < self.containers else ""
        verdict = "did not pass" if self.problems() else "passed"
        yield "audit", f"{verdict}: {self.audited:,} of {self.published:,} images{some}"
        yield (
            "faces left",
            f"{len(self.faces):,} in {_images(self.faces):,} images ({self.detector}, minimum score "
            f"{self.limits.score:g}); at most {self.bound:.2%} of all images (95 %)",
        )
        for size, (faces, images, upper) in self.sizes().items():
            note = "; too small to be recognised, not counted" if size.startswith("<") else ""
            yield f"  {size}", f"{faces:,} in {images:,} images; at most {upper:.2%}{note}"
        known = self.canaries
        removed = f"{known.planted - known.left} of {known.planted} faces removed"
        yield "canaries", removed if known.planted else known.note
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
            name: {"faces": faces, "images": images, "bound": upper}
            for name, (faces, images, upper) in self.sizes().items()
        }
        facts = {
            **asdict(self), "share": self.share, "bound": self.bound, "sizes": sizes, "problems": self.problems()
        }  # fmt: skip
        return (json.dumps(facts, indent=1) + "\n").encode()


def read(data: bytes, where: str) -> Receipt:
    """Read the output of `json`. Raises RunError, naming `where`, for anything else."""
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
        raise RunError(f"{where}: not a receipt of ours ({error}); delete it and audit again") from error


def bound(hits: int, tries: int) -> float:
    """Return the one-sided 95 % upper confidence bound on a share, from `hits` in `tries`.

    Without hits the rule of three (Hanley and Lippman-Hand 1983), else exact (Clopper and Pearson 1934).
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
    """Return the binomial probability of at most `hits` in `tries`, 0 < share < 1."""
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
