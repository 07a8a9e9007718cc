"""Random truths and answers to measure: masks that overlap, meet, miss, crowds, ties of scores."""

import numpy as np

from pipeline.evaluate.average_precision import OwnSegment
from pipeline.evaluate.truth import TrueSegment
from pipeline.image import rle

SIZE = (200, 260)


def box(rng: np.random.Generator, largest: int = 180) -> np.ndarray:
    """HW bool: one box with a hole now and then."""
    height, width = SIZE
    h, w = rng.integers(3, largest, 2)
    y, x = rng.integers(0, height - 3), rng.integers(0, width - 3)
    out = np.zeros(SIZE, bool)
    out[y : y + h, x : x + w] = True
    if rng.random() < 0.3:
        out[y + h // 3 : y + h // 2, x + w // 3 : x + w // 2] = False
    return out


def shifted(rng: np.random.Generator, mask: np.ndarray) -> np.ndarray:
    return np.roll(mask, rng.integers(-8, 9, 2), axis=(0, 1))


def instances(seed: int, classes: int = 3) -> tuple[list[TrueSegment], list[OwnSegment]]:
    """One image. Most segments of ours are those of the truth, moved."""
    rng = np.random.default_rng(seed)
    truth: list[TrueSegment] = []
    ours: list[OwnSegment] = []
    for _ in range(int(rng.integers(0, 7))):
        mask, label = box(rng), int(rng.integers(1, classes + 1))
        crowd = bool(rng.random() < 0.15)
        truth.append(TrueSegment(label=label, rle=rle.encode(mask), area=int(mask.sum()), crowd=crowd))
        for _ in range(int(rng.integers(0, 3))):
            moved = shifted(rng, mask)
            other = label if rng.random() < 0.8 else int(rng.integers(1, classes + 1))
            score = round(float(rng.random()), 1)
            ours.append(OwnSegment(label=other, score=score, rle=rle.encode(moved), area=int(moved.sum())))
    for _ in range(int(rng.integers(0, 3))):
        mask = box(rng, 40)
        label, score = int(rng.integers(1, classes + 1)), round(float(rng.random()), 1)
        ours.append(OwnSegment(label=label, score=score, rle=rle.encode(mask), area=int(mask.sum())))
    return truth, ours


def label_maps(seed: int, classes: int = 4, ignored: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """(truth, ours): HW indices, blocky; -1 here and there in the truth."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, classes, (6, 8)).repeat(10, axis=0).repeat(10, axis=1)
    ours = np.roll(truth, (3, 5), axis=(0, 1))
    ours[rng.random(truth.shape) < 0.05] = 0
    if ignored:
        truth[10:25, 30:50] = -1
    return truth, ours
