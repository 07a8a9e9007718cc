"""The calibration error agrees with torchmetrics, weighted or one by one."""

import numpy as np
import pytest

from pipeline.evaluate.calibration import Calibration


def test_it_is_what_torchmetrics_says() -> None:
    torch = pytest.importorskip("torch")
    error = pytest.importorskip("torchmetrics.functional.classification").binary_calibration_error
    rng = np.random.default_rng(0)
    scores = np.round(rng.random(2000), 2)
    scores[:20] = 1.0
    right = rng.random(2000) < scores**2
    mine = Calibration(15)
    for part in np.array_split(np.arange(2000), 7):
        mine.add(scores[part], right[part], np.ones(len(part)))
    theirs = error(torch.tensor(scores), torch.tensor(right.astype(int)), n_bins=15, norm="l1")
    assert mine.error() == pytest.approx(float(theirs), abs=1e-6)


def test_a_weight_of_three_is_three_times_one() -> None:
    one, other = Calibration(10), Calibration(10)
    one.add([0.72, 0.72, 0.72, 0.22], [1, 1, 0, 0], [1, 1, 1, 1])
    other.add([0.72, 0.22], [2, 0], [3, 1])
    assert one.error() == pytest.approx(other.error()) == pytest.approx((abs(2 - 2.16) + 0.22) / 4)
    assert other.table()[1] == {"from": 0.7, "weight": 3, "score": pytest.approx(0.72), "right": pytest.approx(2 / 3)}
    assert np.isnan(Calibration(10).error())
