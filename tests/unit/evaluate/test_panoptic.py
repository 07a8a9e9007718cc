"""Panoptic quality agrees with torchmetrics to 1e-6, and with drawn cases whose answer is known."""

import numpy as np
import pytest

from pipeline.evaluate.panoptic import Panoptic
from pipeline.evaluate.truth import TrueSegment
from pipeline.image import rle

NOTHING = np.zeros((20, 40), bool)


def segments(ids: np.ndarray, labels: list[int], crowds: tuple[int, ...] = ()) -> list[TrueSegment]:
    return [
        TrueSegment(label=label, rle=rle.encode(ids == at), area=int((ids == at).sum()), crowd=at in crowds)
        for at, label in enumerate(labels, 1)
    ]


def ids_of(*boxes: tuple[int, int, int, int]) -> np.ndarray:
    out = np.zeros((20, 40), np.int64)
    for number, (x, y, w, h) in enumerate(boxes, 1):
        out[y : y + h, x : x + w] = number
    return out


def test_pq_sq_and_rq_of_a_drawn_case() -> None:
    truth = ids_of((0, 0, 10, 10), (20, 0, 10, 10))
    ours = ids_of((0, 0, 10, 8), (20, 10, 10, 10))
    found = Panoptic(3)
    found.add(segments(truth, [1, 1]), truth, [1, 1], ours, void=NOTHING)
    assert found.of(1) == pytest.approx((0.8 / 2, 0.8, 1 / 2))  # one right with IoU 0.8, one extra, one missed
    assert np.isnan(found.of(2)[0])


def test_what_lies_in_the_unknown_or_in_a_crowd_is_no_mistake() -> None:
    truth, ours = ids_of((0, 0, 10, 10)), ids_of((0, 0, 10, 10), (20, 0, 10, 10))
    void = NOTHING.copy()
    void[:, 20:] = True
    found = Panoptic(2)
    found.add(segments(truth, [1]), truth, [1, 1], ours, void=void)
    assert found.of(1) == (1.0, 1.0, 1.0)
    truth = ids_of((0, 0, 10, 10), (20, 0, 15, 15))
    found = Panoptic(2)
    found.add(segments(truth, [1, 1], crowds=(2,)), truth, [1, 1], ours, void=NOTHING)
    assert found.of(1) == (1.0, 1.0, 1.0)


@pytest.mark.parametrize("seed", range(4))
def test_it_is_what_torchmetrics_says(seed: int) -> None:
    torch = pytest.importorskip("torch")
    quality = pytest.importorskip("torchmetrics.functional.detection").panoptic_quality
    rng = np.random.default_rng(seed)
    found, stacks = Panoptic(4), []
    for _ in range(6):
        truth = rng.integers(0, 7, (5, 8)).repeat(8, axis=0).repeat(8, axis=1)
        ours = np.where(rng.random(truth.shape) < 0.1, 0, truth)
        ours[rng.integers(0, 7) == ours] = 1
        true_labels, own_labels = rng.integers(1, 4, 6).tolist(), rng.integers(1, 4, 6).tolist()
        own_labels = [a if rng.random() < 0.8 else b for a, b in zip(true_labels, own_labels, strict=True)]
        there = [at for at in range(1, 7) if (truth == at).any()]
        lookup = np.zeros(7, np.int64)
        lookup[there] = np.arange(1, len(there) + 1)
        found.add(
            segments(lookup[truth], [true_labels[at - 1] for at in there]),
            lookup[truth],
            own_labels,
            ours,
            void=np.zeros(truth.shape, bool),
        )
        pair = []
        for ids, labels in ((ours, own_labels), (truth, true_labels)):
            pair.append(np.stack([np.array([0, *labels])[ids], ids], axis=-1))
        stacks.append(pair)
    ours_, truth_ = (torch.tensor(np.stack([pair[at] for pair in stacks])) for at in (0, 1))
    # What no segment has is one more segment for torchmetrics: class 0, a stuff, whose row comes last.
    theirs = quality(ours_, truth_, things={1, 2, 3}, stuffs={0}, return_sq_and_rq=True, return_per_class=True)
    for label, row in zip((1, 2, 3), theirs[:3], strict=True):
        assert found.of(label) == pytest.approx(tuple(row.tolist()), abs=1e-6)
