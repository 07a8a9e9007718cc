"""Measures the committed masks of an output against a truth, one image in memory at a time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from pipeline import life
from pipeline.errors import ConfigError
from pipeline.evaluate.average_precision import AveragePrecision, OwnSegment
from pipeline.evaluate.calibration import Calibration
from pipeline.evaluate.open_truth import Truth, fitted
from pipeline.evaluate.panoptic import Panoptic
from pipeline.evaluate.semantic import Semantic, mean
from pipeline.evaluate.truth import IGNORED, Classes, Entry, TrueImage, names_of
from pipeline.export.formats.coco_panoptic import id_map
from pipeline.export.tables import Row, Tables
from pipeline.records import Segments
from pipeline.spec import Share, spec


@spec
class Evaluate:
    """How masks are measured."""

    labels: tuple[str, ...] = ()
    """Only these classes; all other segments, on both sides, are background. Empty: all, which must be the same."""
    min_score: Share = 0.0
    """Minimum score of a segment of ours. Leave it at 0 for mask AP, which looks at all scores."""
    boundary_px: Annotated[int, Field(ge=1)] = 3
    """Tolerance of boundary IoU and boundary F in pixels."""
    bins: Annotated[int, Field(ge=1)] = 15
    """Bins of the expected calibration error."""
    background: bool = True
    """Count the background as a class in the means over classes, as label maps with a class 0 do."""
    missing: Literal["refuse", "skip"] = "refuse"
    """Images that only one side has: refuse them, or leave them out and count them. Rejected images are always left
    out and counted."""


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """settings, classes, truth: of what. images: measured, rejected, and those that only one side has."""

    settings: Evaluate
    classes: Classes
    truth: Truth
    images: dict[str, int]
    semantic: Semantic
    panoptic: Panoptic
    precision: AveragePrecision
    pixels: Calibration
    segments: Calibration

    def json(self) -> dict[str, Any]:
        """All numbers; null where one is not defined."""
        rows = [self._row(index) for index in range(len(self.classes.names))]
        counted = rows if self.settings.background else rows[1:]
        means: dict[str, float] = {
            f"mean_{key}": mean(np.array([row[key] for row in counted if key in row], np.float64))
            for key in ("iou", "dice", "boundary_iou", "boundary_f", "recall")
        }
        means["pixel_accuracy"] = self.semantic.accuracy()
        means["frequency_weighted_iou"] = self.semantic.frequency_weighted_iou()
        means["ece_pixels"] = self.pixels.error()
        if self.truth.has_segments:
            keys = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large", "recall100", "pq", "sq", "rq")
            means |= {key: mean(np.array([row[key] for row in rows[1:]], np.float64)) for key in keys}
            for name, some in (("things", True), ("stuff", False)):
                of_kind = [row["pq"] for at, row in enumerate(rows[1:], 1) if (at in self.classes.things) == some]
                means[f"pq_{name}"] = mean(np.array(of_kind, np.float64))
            means["ece_segments"] = self.segments.error()
        told: dict[str, Any] = {
            "truth": self.truth.kind,
            "settings": asdict(self.settings),
            "images": self.images,
            "mean": means,
            "classes": rows,
            "confusion": {
                "rows": "truth",
                "columns": "ours",
                "names": list(self.classes.names),
                "pixels": self.semantic.confusion.tolist(),
            },
            "calibration": {"pixels": self.pixels.table(), "segments": self.segments.table()},
        }
        plain: dict[str, Any] = _plain(told)
        return plain

    def _row(self, index: int) -> dict[str, Any]:
        semantic = self.semantic
        row: dict[str, Any] = {
            "name": self.classes.names[index],
            "pixels_truth": int(semantic.truth[index]),
            "pixels_ours": int(semantic.ours[index]),
            "iou": float(semantic.iou()[index]),
            "dice": float(semantic.dice()[index]),
            "precision": float(semantic.precision()[index]),
            "recall": float(semantic.recall()[index]),
            "boundary_iou": float(semantic.boundary_iou()[index]),
            "boundary_f": float(semantic.boundary_f()[index]),
        }
        if index and self.truth.has_segments:
            scores = self.precision.of(index)
            pq, sq, rq = self.panoptic.of(index)
            row |= {"segments_truth": self.precision.truths(index), "pq": pq, "sq": sq, "rq": rq}
            row |= {"ap": scores.ap, "ap50": scores.ap50, "ap75": scores.ap75, "ap_small": scores.small}
            row |= {"ap_medium": scores.medium, "ap_large": scores.large, "recall100": scores.recall}
        return row

    def text(self) -> str:
        """The table that the command prints."""
        told = self.json()
        columns = ["iou", "dice", "boundary_iou", "boundary_f", "recall"]
        columns += ["ap", "ap50", "pq", "sq", "rq"] if self.truth.has_segments else []
        width = max(len(name) for name in (*self.classes.names, "mean"))
        lines = [f"{'':<{width}}  {'pixels':>13}  " + "  ".join(f"{name:>12}" for name in columns)]
        for row in told["classes"]:
            cells = "  ".join(f"{_shown(row.get(name, '')):>12}" for name in columns)
            lines.append(f"{row['name']:<{width}}  {row['pixels_truth']:>13,}  {cells}")
        means = {**told["mean"], **{name: told["mean"].get(f"mean_{name}", told["mean"].get(name)) for name in columns}}
        cells = "  ".join(f"{_shown(means[name]):>12}" for name in columns)
        lines.append(f"{'mean':<{width}}  {sum(row['pixels_truth'] for row in told['classes']):>13,}  {cells}")
        more = ("pixel_accuracy", "frequency_weighted_iou", "ece_pixels", "ece_segments")
        lines.append(", ".join(f"{name} {_shown(means[name])}" for name in more if name in means))
        counts = ", ".join(f"{name} {count:,}" for name, count in self.images.items())
        lines.append(f"images: {counts}; borders within {self.settings.boundary_px} px")
        return "\n".join(lines)


def evaluate(tables: Tables, truth: Truth, settings: Evaluate) -> Evaluation:
    """Measure every image that both have.

    Raises ConfigError where classes, names or sizes do not fit, naming the first three that differ.
    """
    classes = fitted(tables, truth, settings.labels)
    found = Evaluation(
        settings=settings,
        classes=classes,
        truth=truth,
        images={"measured": 0, "rejected": 0, "only in the output": 0, "only in the truth": 0},
        semantic=Semantic(len(classes.names), settings.boundary_px),
        panoptic=Panoptic(len(classes.names)),
        precision=AveragePrecision(),
        pixels=Calibration(settings.bins),
        segments=Calibration(settings.bins),
    )
    _check_images(tables, truth, found)
    seen = 0
    for place in tables.places:
        life.phase(f"measuring {seen:,} of {tables.images:,} images")
        for row in tables.rows(place):
            entry = truth.found.find(names_of(row))
            if not row.rejected and entry is not None:
                _add(found, _taken(row, classes, settings), truth.image(entry, classes))
        seen += place.record.counts.images
    return found


def _check_images(tables: Tables, truth: Truth, found: Evaluation) -> None:
    """Compare names and sizes before anything is measured."""
    sizes: list[str] = []
    lacking: list[str] = []
    for place in tables.places:
        for row in tables.rows(place, segments=False):
            entry = truth.found.find(names_of(row))
            if entry is not None and not truth.found.use(entry.number):
                raise ConfigError(f"two images are {entry.name} of the truth, one of them {row.image_uri}")
            if row.rejected:
                found.images["rejected"] += 1
            elif entry is None:
                found.images["only in the output"] += 1
                lacking.append(row.member)
                del lacking[3:]
            elif (entry.height, entry.width) != (row.height, row.width):
                sizes.append(_sizes(entry, row))
                del sizes[3:]
            else:
                found.images["measured"] += 1
    unused, names = truth.found.unused()
    found.images["only in the truth"] = unused
    if sizes:
        raise ConfigError(f"sizes do not fit: {', '.join(sizes)}; masks are those of upright images")
    if found.settings.missing == "refuse" and (lacking or unused):
        missing = [f"{name} (not in the truth)" for name in lacking] + [f"{name} (not in the output)" for name in names]
        count = found.images["only in the output"] + unused
        raise ConfigError(
            f"{count:,} images do not fit: {', '.join(missing[:3])}; missing=skip measures those that both have"
        )
    if not found.images["measured"]:
        raise ConfigError("no image is in both the output and the truth")


def _sizes(entry: Entry, row: Row) -> str:
    return f"{row.member} is {row.width}x{row.height}, in the truth {entry.width}x{entry.height}"


@dataclass(frozen=True, kw_only=True)
class _Ours:
    """The segments of an image that are measured, and the class of each."""

    segments: Segments
    labels: Sequence[int]


def _taken(row: Row, classes: Classes, settings: Evaluate) -> _Ours:
    kept = tuple(
        each.segment
        for each in row.found
        if each.segment.class_id in classes.ours and each.segment.score >= settings.min_score and each.segment.area
    )
    segments = Segments(image_id=row.image_id, height=row.height, width=row.width, segments=kept)
    return _Ours(segments=segments, labels=[classes.ours[each.class_id] for each in kept])


def _add(found: Evaluation, ours: _Ours, truth: TrueImage) -> None:
    ids = id_map(ours.segments)
    labels = np.array([0, *ours.labels], np.int64)
    found.semantic.add(truth.labels, labels[ids])
    known = truth.labels != IGNORED
    pixels = np.bincount(ids[known], minlength=len(labels))[1:]
    right = np.bincount(ids[known & (labels[ids] == truth.labels)], minlength=len(labels))[1:]
    scores = [each.score for each in ours.segments.segments]
    found.pixels.add(scores, right, pixels)
    if found.truth.has_segments:
        found.panoptic.add(truth.segments, truth.ids, ours.labels, ids, void=~known)
        own = [
            OwnSegment(label=label, score=each.score, rle=each.rle, area=each.area)
            for label, each in zip(ours.labels, ours.segments.segments, strict=True)
        ]
        hits = found.precision.add(truth.segments, own, ours.segments.height, ours.segments.width)
        found.segments.add(scores, hits, np.ones(len(scores)))


def _shown(value: object) -> str:
    return f"{value:.4f}" if isinstance(value, float) else "-" if value is None else str(value)


def _plain(value: Any) -> Any:
    """With None for NaN, which JSON does not have."""
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return None if isinstance(value, float) and math.isnan(value) else value
