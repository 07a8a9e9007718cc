"""Numbers pixel by pixel agree with torchmetrics to 1e-6; borders with drawn cases whose answer is known."""

import numpy as np
import pytest

from pipeline.evaluate.semantic import Semantic, band, mean, rim
from tests.fakes.evaluation_cases import label_maps


def measured(*cases: tuple[np.ndarray, np.ndarray], n: int = 4, radius: int = 2) -> Semantic:
    found = Semantic(n, radius)
    for truth, ours in cases:
        found.add(truth, ours)
    return found


def test_it_is_what_torchmetrics_says() -> None:
    torch = pytest.importorskip("torch")
    metrics = pytest.importorskip("torchmetrics.functional.classification")
    cases = [label_maps(seed, ignored=True) for seed in range(5)]
    mine = measured(*cases)
    truth, ours = (torch.tensor(np.stack([case[at] for case in cases])) for at in (0, 1))
    common = {"num_classes": 4, "ignore_index": -1}
    matrix = metrics.multiclass_confusion_matrix(ours, truth, **common)
    assert (mine.confusion == matrix.numpy()).all()
    for own, name in (
        (mine.iou(), "jaccard_index"),
        (mine.dice(), "f1_score"),
        (mine.recall(), "recall"),
        (mine.precision(), "precision"),
    ):
        theirs = getattr(metrics, f"multiclass_{name}")(ours, truth, average="none", **common)
        assert own == pytest.approx(theirs.numpy(), abs=1e-6)
    weighted = metrics.multiclass_jaccard_index(ours, truth, average="weighted", **common)
    assert mine.frequency_weighted_iou() == pytest.approx(float(weighted), abs=1e-6)
    micro = metrics.multiclass_accuracy(ours, truth, average="micro", **common)
    assert mine.accuracy() == pytest.approx(float(micro), abs=1e-6)
    macro = metrics.multiclass_jaccard_index(ours, truth, average="macro", **common)
    assert mean(mine.iou()) == pytest.approx(float(macro), abs=1e-6)


def test_a_class_that_nobody_has_is_no_number_and_not_in_the_mean() -> None:
    truth, ours = np.zeros((8, 8), int), np.zeros((8, 8), int)
    ours[:, 4:] = 1
    found = measured((truth, ours))
    assert np.isnan(found.iou()[2])
    assert found.iou()[:2].tolist() == [0.5, 0.0]
    assert mean(found.iou()) == 0.25
    assert np.isnan(mean(np.array([np.nan])))


def test_the_band_of_a_square_and_the_edge_of_the_image() -> None:
    mask = np.zeros((20, 20), bool)
    mask[5:15, 5:15] = True
    assert band(mask, 2).sum() == 10 * 10 - 6 * 6
    assert band(np.ones((20, 20), bool), 2).sum() == 20 * 20 - 16 * 16
    assert rim(mask).sum() == 10 * 10 - 8 * 8
    assert rim(np.ones((20, 20), bool)).sum() == 0


def test_boundary_iou_of_a_moved_square() -> None:
    truth, ours = np.zeros((40, 40), int), np.zeros((40, 40), int)
    truth[10:20, 10:20] = 1
    ours[10:20, 11:21] = 1
    one, other = band(truth == 1, 2), band(ours == 1, 2)
    # Two frames of 10x10, two wide, one column apart: each row of the upper and lower 2 shares 9 of 11, each of the 6
    # rows between shares 1 + 1 of 3 + 3 pixels.
    assert ((one & other).sum(), (one | other).sum()) == (4 * 9 + 6 * 2, 4 * 11 + 6 * 6)
    assert measured((truth, ours)).boundary_iou()[1] == pytest.approx(48 / 80)


@pytest.mark.parametrize(("moved", "radius", "expected"), [(1, 1, 1.0), (3, 2, None), (12, 2, 0.0), (0, 1, 1.0)])
def test_boundary_f_of_a_moved_square(moved: int, radius: int, expected: float | None) -> None:
    truth, ours = np.zeros((60, 60), int), np.zeros((60, 60), int)
    truth[10:20, 10:20] = 1
    ours[10:20, 10 + moved : 20 + moved] = 1
    found = measured((truth, ours), radius=radius).boundary_f()[1]
    if expected is None:
        # The left column of ours is 3 pixels off, and its two corners 3 from the corner's rows: on the rows they lie on
        # the truth's own rows. So of 36 pixels those 8 between the corners miss, on either side; on the other side the
        # right column's 8, and the last 1 of each row, whose nearest is 3 away.
        assert 0.5 < found < 0.8
    else:
        assert found == pytest.approx(expected)


def test_one_side_without_a_border_is_0_and_neither_is_no_number() -> None:
    truth, ours = np.zeros((10, 10), int), np.zeros((10, 10), int)
    ours[2:4, 2:4] = 1
    found = measured((truth, ours)).boundary_f()
    assert found[1] == 0
    assert np.isnan(found[2])
