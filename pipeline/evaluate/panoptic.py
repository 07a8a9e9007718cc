"""Panoptic quality, as panopticapi's `pq_compute` has it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.evaluate.truth import TrueSegment


class Panoptic:
    """Sums over images. n: number of classes with the background."""

    def __init__(self, n: int) -> None:
        self.iou = np.zeros(n)
        self.right, self.extra, self.missed = (np.zeros(n, np.int64) for _ in range(3))

    def add(
        self,
        truth: Sequence[TrueSegment],
        true_ids: NDArray[np.int64],
        labels: Sequence[int],
        own_ids: NDArray[np.int64],
        *,
        void: NDArray[np.bool_],
    ) -> None:
        """Add an image. ids: (height, width), 0 or the place from 1 of the segment at each pixel. labels: classes of
        ours. void: (height, width) where the truth knows nothing."""
        n = len(labels) + 1
        pairs = np.bincount((true_ids * n + own_ids).ravel(), minlength=(len(truth) + 1) * n).reshape(-1, n)
        own, true = pairs.sum(axis=0), pairs.sum(axis=1)
        unknown = np.bincount(own_ids[void], minlength=n)
        crowds = {each.label: number for number, each in enumerate(truth, 1) if each.crowd}
        true_done, own_done = set(), set()
        for number, at in zip(*np.nonzero(pairs[1:, 1:]), strict=True):
            each, label = truth[number], labels[at]
            if each.crowd or each.label != label:
                continue
            both = pairs[number + 1, at + 1]
            iou = both / (true[number + 1] + own[at + 1] - both - unknown[at + 1])
            if iou > 0.5:
                self.iou[label] += iou
                self.right[label] += 1
                true_done.add(number)
                own_done.add(at)
        for number, each in enumerate(truth):
            if number not in true_done and not each.crowd and true[number + 1]:
                self.missed[each.label] += 1
        for at, label in enumerate(labels):
            if at in own_done or not own[at + 1]:
                continue
            excused = unknown[at + 1] + (pairs[crowds[label], at + 1] if label in crowds else 0)
            if excused / own[at + 1] <= 0.5:
                self.extra[label] += 1

    def of(self, label: int) -> tuple[float, float, float]:
        """PQ, SQ and RQ of a class; NaN for one that neither has."""
        right = int(self.right[label])
        whole = right + 0.5 * self.extra[label] + 0.5 * self.missed[label]
        if not whole:
            return float("nan"), float("nan"), float("nan")
        return float(self.iou[label] / whole), float(self.iou[label] / right) if right else 0.0, float(right / whole)
