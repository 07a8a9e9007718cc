"""AP and AR agree with pycocotools' COCOeval to 1e-6, over random cases with crowds, ties and areas of all sizes."""

import io
from contextlib import redirect_stdout

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from pipeline.evaluate.average_precision import AveragePrecision, OwnSegment
from pipeline.evaluate.truth import TrueSegment
from tests.fakes.evaluation_cases import SIZE, instances

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def cocoeval(cases: list[tuple[list[TrueSegment], list[OwnSegment]]], label: int) -> list[float]:
    """AP, AP50, AP75, small, medium, large, AR100 of one class."""
    height, width = SIZE
    truth: list[dict[str, object]] = []
    found: list[dict[str, object]] = []
    for image, (true, ours) in enumerate(cases, 1):
        for each in true:
            code = {"size": [height, width], "counts": each.rle.decode()}
            truth.append(
                {"id": len(truth) + 1, "image_id": image, "category_id": each.label, "segmentation": code,
                 "area": each.area, "bbox": [0, 0, 1, 1], "iscrowd": int(each.crowd)}
            )  # fmt: skip
        for own in ours:
            code = {"size": [height, width], "counts": own.rle.decode()}
            found.append({"image_id": image, "category_id": own.label, "segmentation": code, "score": own.score})
    with redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {
            "info": {},
            "images": [{"id": image, "height": height, "width": width} for image in range(1, len(cases) + 1)],
            "categories": [{"id": number, "name": str(number)} for number in (1, 2, 3)],
            "annotations": truth,
        }
        coco.createIndex()
        judge = COCOeval(coco, coco.loadRes(found), "segm")
        judge.params.catIds = [label]
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    return [float(judge.stats[at]) for at in (0, 1, 2, 3, 4, 5, 8)]


@pytest.mark.parametrize("seed", range(3))
def test_it_is_what_cocoeval_says(seed: int) -> None:
    cases = [instances(seed * 1000 + image) for image in range(40)]
    mine = AveragePrecision()
    for true, ours in cases:
        mine.add(true, ours, *SIZE)
    for label in (1, 2, 3):
        found = mine.of(label)
        own = [found.ap, found.ap50, found.ap75, found.small, found.medium, found.large, found.recall]
        theirs = cocoeval(cases, label)
        assert theirs[5] > -1, "no large segment was drawn"
        assert own == pytest.approx(theirs, abs=1e-6)


def test_more_than_a_hundred_segments_of_an_image_are_cut_as_cocoeval_cuts_them() -> None:
    cases = [instances(7) for _ in range(1)]
    true, ours = cases[0]
    assert true
    many = [OwnSegment(label=e.label, score=(i % 97) / 97, rle=e.rle, area=e.area) for i in range(40) for e in ours]
    mine = AveragePrecision()
    mine.add(true, many, *SIZE)
    assert len(many) > 100
    for label in (1, 2, 3):
        if mine.truths(label):
            assert mine.of(label).ap == pytest.approx(cocoeval([(true, many)], label)[0], abs=1e-6)


def test_a_class_without_a_truth_has_no_number_and_one_that_nobody_found_has_0() -> None:
    mine = AveragePrecision()
    true, _ = instances(3)
    mine.add([each for each in true if not each.crowd], [], *SIZE)
    label = next(each.label for each in true if not each.crowd)
    assert mine.of(label).ap == 0
    assert np.isnan(mine.of(9).ap)


def test_it_says_which_segments_are_right() -> None:
    true, _ = instances(3)
    whole = [each for each in true if not each.crowd]
    ours = [OwnSegment(label=e.label, score=0.5, rle=e.rle, area=int(e.area)) for e in whole]
    wrong = [OwnSegment(label=4, score=0.5, rle=whole[0].rle, area=int(whole[0].area))]
    assert AveragePrecision().add(whole, ours + wrong, *SIZE) == [True] * len(ours) + [False]
