"""Classes pixel by pixel: confusion, IoU, Dice, accuracy; and their borders: boundary IoU and boundary F."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.evaluate.truth import IGNORED
from pipeline.records import Mask

Labels = NDArray[np.int64]
"""(height, width) index of the class, 0 background, IGNORED where the truth knows nothing."""


class Semantic:
    """Sums over images. n: number of classes with the background. radius: of the borders, in pixels."""

    def __init__(self, n: int, radius: int) -> None:
        self.confusion = np.zeros((n, n), np.int64)
        """(truth, ours) pixels."""
        self._radius = radius
        self._band = np.zeros((2, n), np.int64)  # pixels of both bands, of either
        self._rim = np.zeros((4, n), np.int64)  # rim of ours, near the truth's; rim of the truth, near ours

    def add(self, truth: Labels, ours: Labels) -> None:
        known = truth != IGNORED
        n = len(self.confusion)
        self.confusion += np.bincount(truth[known] * n + ours[known], minlength=n * n).reshape(n, n)
        for label in np.union1d(truth[known], ours[known]).tolist():
            self._border(label, (truth == label) & known, (ours == label) & known)

    def _border(self, label: int, truth: Mask, ours: Mask) -> None:
        one, other = band(truth, self._radius), band(ours, self._radius)
        self._band[:, label] += (one & other).sum(), (one | other).sum()
        true_rim, own_rim = rim(truth), rim(ours)
        self._rim[:, label] += (
            own_rim.sum(),
            (own_rim & _near(true_rim, self._radius)).sum(),
            true_rim.sum(),
            (true_rim & _near(own_rim, self._radius)).sum(),
        )

    @property
    def truth(self) -> NDArray[np.int64]:
        """(n,) pixels of each class in the truth."""
        return np.asarray(self.confusion.sum(axis=1))

    @property
    def ours(self) -> NDArray[np.int64]:
        return np.asarray(self.confusion.sum(axis=0))

    def iou(self) -> NDArray[np.float64]:
        """(n,) NaN for a class that neither has."""
        both = np.diag(self.confusion)
        return _share(both, self.truth + self.ours - both)

    def dice(self) -> NDArray[np.float64]:
        return _share(2 * np.diag(self.confusion), self.truth + self.ours)

    def recall(self) -> NDArray[np.float64]:
        return _share(np.diag(self.confusion), self.truth)

    def precision(self) -> NDArray[np.float64]:
        return _share(np.diag(self.confusion), self.ours)

    def accuracy(self) -> float:
        """The share of pixels whose class is right."""
        return float(_share(np.diag(self.confusion).sum(), self.confusion.sum()))

    def frequency_weighted_iou(self) -> float:
        """IoU, each class weighted by its pixels in the truth."""
        there = self.truth > 0
        return float(_share((self.truth[there] * self.iou()[there]).sum(), self.truth.sum()))

    def boundary_iou(self) -> NDArray[np.float64]:
        """(n,) IoU of the bands of `radius` pixels inside the border (Cheng et al. 2021)."""
        return _share(self._band[0], self._band[1])

    def boundary_f(self) -> NDArray[np.float64]:
        """(n,) F of the borders, a pixel of one being right within `radius` pixels of the other."""
        precision, recall = _share(self._rim[1], self._rim[0]), _share(self._rim[3], self._rim[2])
        only = np.isnan(precision) ^ np.isnan(recall)  # one of the two has no border at all
        return np.where(only, 0.0, _share(2 * precision * recall, precision + recall, empty=0.0 * precision))


def mean(values: NDArray[np.float64]) -> float:
    """The mean of those that are numbers; NaN for none."""
    there = values[~np.isnan(values)]
    return float(there.mean()) if len(there) else float("nan")


def band(mask: Mask, radius: int) -> Mask:
    """The pixels of a mask that are at most `radius` steps (to any of 8 neighbours) from its outside; the edge of the
    image is outside."""
    padded = cv2.copyMakeBorder(mask.view(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    inner = cv2.erode(padded, np.ones((3, 3), np.uint8), iterations=radius)[1:-1, 1:-1]
    return np.asarray(mask & (inner == 0))


def rim(mask: Mask) -> Mask:
    """The pixels of a mask with one of their 4 neighbours in the image outside."""
    padded = np.pad(mask, 1, mode="edge")
    inside = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return mask & ~inside


def _near(mask: Mask, radius: int) -> Mask:
    if not mask.any():
        return np.zeros_like(mask)
    away = cv2.distanceTransform((~mask).view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.asarray(away <= radius)


def _share(
    part: NDArray[np.generic] | np.generic, whole: NDArray[np.generic] | np.generic, empty: object = np.nan
) -> NDArray[np.float64]:
    one, all_ = np.asarray(part, np.float64), np.asarray(whole, np.float64)
    out = np.broadcast_to(np.asarray(empty, np.float64), one.shape).copy()
    np.divide(one, all_, out=out, where=all_ > 0)
    return out
