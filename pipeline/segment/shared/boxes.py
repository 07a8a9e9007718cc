"""Overlap of boxes, and non-maximum suppression."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from pipeline.records import Floats

Detections: TypeAlias = Floats
"""(n, 5): left, top, right, bottom, score."""


def shared_area(box: Floats, others: Floats, *, inner: bool = False) -> tuple[Floats, Floats]:
    """Area that a box (left, top, right, bottom, ...) shares with each of `others` (n, 4 or more), and the area to
    compare it with: that of their union, or with `inner` of the smaller box, where the last pixel counts in."""
    sides = (np.minimum(box[2:4], others[:, 2:4]) - np.maximum(box[:2], others[:, :2]) + inner).clip(0)
    both = sides[:, 0] * sides[:, 1]
    (area,), areas = _areas(box[None], inner), _areas(others, inner)
    return both, np.minimum(area, areas) if inner else area + areas - both


def _areas(boxes: Floats, inner: bool) -> Floats:
    sides = boxes[:, 2:4] - boxes[:, :2] + inner
    return sides[:, 0] * sides[:, 1]


def suppress(boxes: Detections, overlap: float, *, inner: bool = False, equal: bool = False) -> NDArray[np.int64]:
    """Greedy non-maximum suppression: positions of the boxes that stay, best first.

    A box goes when it shares more than `overlap` of their union with a better one. inner: of the smaller box, as in
    `shared_area`. equal: it also goes when it shares exactly that much.
    """
    left = np.argsort(-boxes[:, 4], kind="stable")
    kept = []
    while len(left):
        best, rest = left[0], left[1:]
        kept.append(best)
        both, area = shared_area(boxes[best], boxes[rest], inner=inner)
        left = rest[both < overlap * area] if equal else rest[both <= overlap * area]
    return np.array(kept, np.int64)
