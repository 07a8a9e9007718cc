"""Mask AP and AR as pycocotools' COCOeval has them for `segm`, in the memory of a few numbers a segment."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco

from pipeline.evaluate.truth import TrueSegment

THRESHOLDS: Final = np.linspace(0.5, 0.95, 10)
RECALLS: Final = np.linspace(0.0, 1.0, 101)
AREAS: Final[Mapping[str, tuple[float, float]]] = {
    "all": (0, 1e10),
    "small": (0, 32**2),
    "medium": (32**2, 96**2),
    "large": (96**2, 1e10),
}
MOST: Final = 100
"""Segments of one class in one image that count, those with the highest scores."""
_T: Final = len(THRESHOLDS)


@dataclass(frozen=True, kw_only=True)
class OwnSegment:
    """A segment of ours. label: index of its class."""

    label: int
    score: float
    rle: bytes
    area: int


@dataclass
class _Class:
    """Of one class: scores, and of each area range ten bits a segment for `matched` and ten above for `ignored`."""

    scores: array[float] = field(default_factory=lambda: array("d"))
    codes: Mapping[str, array[int]] = field(default_factory=lambda: {name: array("I") for name in AREAS})
    positives: dict[str, int] = field(default_factory=lambda: dict.fromkeys(AREAS, 0))


@dataclass(frozen=True, kw_only=True)
class Scores:
    """ap, ap50, ap75: over all areas; small, medium, large: ap of these; recall: the highest. NaN without a truth."""

    ap: float
    ap50: float
    ap75: float
    small: float
    medium: float
    large: float
    recall: float


class AveragePrecision:
    """Matches of single segments, image by image."""

    def __init__(self) -> None:
        self._classes: dict[int, _Class] = {}

    def add(self, truth: Sequence[TrueSegment], ours: Sequence[OwnSegment], height: int, width: int) -> list[bool]:
        """Add an image. Return, for each segment of ours, whether it meets one of the truth with an IoU of 0.5."""
        right = [False] * len(ours)
        for label in sorted({each.label for each in truth} | {each.label for each in ours}):
            some = [at for at, each in enumerate(ours) if each.label == label]
            order = np.argsort([-ours[at].score for at in some], kind="mergesort")[:MOST]
            chosen = [some[at] for at in order]
            matched = self._add(
                label, [t for t in truth if t.label == label], [ours[at] for at in chosen], height, width
            )
            for at, hit in zip(chosen, matched, strict=True):
                right[at] = hit
        return right

    def _add(
        self, label: int, truth: Sequence[TrueSegment], ours: Sequence[OwnSegment], height: int, width: int
    ) -> list[bool]:
        kept = self._classes.setdefault(label, _Class())
        kept.scores.extend(each.score for each in ours)
        overlap = _ious(truth, ours, height, width)
        hits = [False] * len(ours)
        for name, (low, high) in AREAS.items():
            left_out = [each.crowd or not low <= each.area <= high for each in truth]
            kept.positives[name] += len(truth) - sum(left_out)
            matched, ignored = _match(truth, left_out, overlap)
            outside = np.array([not low <= each.area <= high for each in ours], bool)
            ignored |= ~matched & outside
            bits = 1 << np.arange(_T, dtype=np.int64)[:, None]
            kept.codes[name].extend(((matched * bits) + (ignored * bits << _T)).sum(axis=0).tolist())
            if name == "all":
                hits = (matched[0] & ~ignored[0]).tolist()
        return hits

    def of(self, label: int) -> Scores:
        """The scores of a class."""
        kept = self._classes.get(label, _Class())
        tables = {name: _precision(kept, name) for name in AREAS}
        every, recall = tables["all"]
        return Scores(
            ap=_mean(every),
            ap50=_mean(every[:1]),
            ap75=_mean(every[5:6]),
            small=_mean(tables["small"][0]),
            medium=_mean(tables["medium"][0]),
            large=_mean(tables["large"][0]),
            recall=_mean(recall),
        )

    def truths(self, label: int) -> int:
        """Segments of the truth that are to be found."""
        return self._classes.get(label, _Class()).positives["all"]


def _ious(truth: Sequence[TrueSegment], ours: Sequence[OwnSegment], height: int, width: int) -> NDArray[np.float64]:
    """(ours, truth) IoU; of a crowd the share of ours that lies in it."""
    if not truth or not ours:
        return np.zeros((len(ours), len(truth)))
    one = [{"size": [height, width], "counts": each.rle} for each in ours]
    other = [{"size": [height, width], "counts": each.rle} for each in truth]
    return np.asarray(coco.iou(one, other, [int(each.crowd) for each in truth]), np.float64)


def _match(
    truth: Sequence[TrueSegment], left_out: Sequence[bool], overlap: NDArray[np.float64]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """(thresholds, ours) whether matched, and whether with one that is left out: `COCOeval.evaluateImg`. Segments of
    ours come by falling score, and each takes the free one that it overlaps most, one that counts before one that is
    left out."""
    order = np.argsort(np.array(left_out, bool), kind="mergesort").tolist()
    matched = np.zeros((_T, len(overlap)), bool)
    ignored = np.zeros((_T, len(overlap)), bool)
    for t, threshold in enumerate(THRESHOLDS):
        taken = np.zeros(len(truth), bool)
        for d in range(len(overlap)):
            best, hit = min(threshold, 1 - 1e-10), -1
            for g in order:
                if taken[g] and not truth[g].crowd:
                    continue
                if hit > -1 and not left_out[hit] and left_out[g]:
                    break
                if overlap[d, g] < best:
                    continue
                best, hit = overlap[d, g], g
            if hit > -1:
                taken[hit] = True
                matched[t, d], ignored[t, d] = True, left_out[hit]
    return matched, ignored


def _precision(kept: _Class, area: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(thresholds, recalls) precision and (thresholds,) highest recall: `COCOeval.accumulate`; NaN without a truth."""
    precision, recall = np.full((_T, len(RECALLS)), np.nan), np.full(_T, np.nan)
    if not kept.positives[area]:
        return precision, recall
    order = np.argsort(-np.frombuffer(kept.scores, np.float64), kind="mergesort") if kept.scores else np.array([], int)
    codes = np.frombuffer(kept.codes[area], np.uint32)[order] if kept.scores else np.array([], np.uint32)
    for t in range(_T):
        matched, ignored = (codes >> t & 1).astype(bool), (codes >> (t + _T) & 1).astype(bool)
        right = np.cumsum(matched & ~ignored, dtype=np.float64)
        wrong = np.cumsum(~matched & ~ignored, dtype=np.float64)
        reached = right / kept.positives[area]
        exact = right / (right + wrong + np.spacing(1))
        recall[t] = reached[-1] if len(reached) else 0
        falling = np.maximum.accumulate(exact[::-1])[::-1]
        at = np.searchsorted(reached, RECALLS, side="left")
        precision[t] = np.where(at < len(falling), falling[np.minimum(at, len(falling) - 1)], 0) if len(falling) else 0
    return precision, recall


def _mean(values: NDArray[np.float64]) -> float:
    there = values[~np.isnan(values)]
    return float(there.mean()) if there.size else float("nan")
