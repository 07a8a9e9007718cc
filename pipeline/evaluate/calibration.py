"""Expected calibration error: how far scores are from the share of what is right at that score."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike


class Calibration:
    """Sums in equal bins of the score, and one bin for a score of 1. bins: number of equal ones."""

    def __init__(self, bins: int) -> None:
        self._edges = np.linspace(0, 1, bins + 1)
        self.weight, self._score, self._right = (np.zeros(bins + 1) for _ in range(3))

    def add(self, scores: ArrayLike, right: ArrayLike, weights: ArrayLike) -> None:
        """scores: 0..1. right: the weight of what is right, at most `weights`."""
        score, weight = np.asarray(scores, np.float64), np.asarray(weights, np.float64)
        at = np.clip(np.digitize(score, self._edges) - 1, 0, len(self._edges) - 1)
        self.weight += np.bincount(at, weight, len(self._edges))
        self._score += np.bincount(at, score * weight, len(self._edges))
        self._right += np.bincount(at, np.asarray(right, np.float64), len(self._edges))

    def error(self) -> float:
        """The mean over what was added of |share of right - mean score| of its bin; NaN when nothing was."""
        total = self.weight.sum()
        return float(np.abs(self._right - self._score).sum() / total) if total else float("nan")

    def table(self) -> list[dict[str, float]]:
        """Of each bin that holds something: its lower edge, weight, mean score and share of right."""
        return [
            {
                "from": round(float(self._edges[at]), 6),
                "weight": float(self.weight[at]),
                "score": float(self._score[at] / self.weight[at]),
                "right": float(self._right[at] / self.weight[at]),
            }
            for at in np.flatnonzero(self.weight)
        ]
