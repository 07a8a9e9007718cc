import pickle

import numpy as np
import pytest

from pipeline.errors import ConfigError, ImageError
from pipeline.image import rle
from pipeline.records import Segment, Segments
from pipeline.select import Select
from tests.fakes.specs import made, preset


def segment(label: str, top: int, left: int, bottom: int, right: int, score: float = 0.9) -> Segment:
    mask = np.zeros((100, 200), bool)
    mask[top:bottom, left:right] = True
    box = (float(left), float(top), float(right - left), float(bottom - top))
    return Segment(
        label=label, class_id=0, score=score, rle=rle.encode(mask), box=box, area=int(mask.sum()), model="drawn"
    )


def found(*segments: Segment) -> Segments:
    return Segments(image_id="a", height=100, width=200, segments=segments)


THREE = found(
    segment("face", 10, 10, 30, 30), segment("text", 50, 10, 60, 110, score=0.4), segment("face", 20, 20, 40, 40)
)


@pytest.mark.parametrize(
    ("select", "chosen", "area"),
    [
        (Select(), (0, 1, 2), 400 + 400 - 100 + 1000),
        (Select(labels=("face",)), (0, 2), 700),
        (Select(max_segment_share=0.02), (0, 2), 700),
        (Select(labels=("text",)), (1,), 1000),
        (Select(labels=("plate",)), (), 0),
        (Select(min_score=0.4), (0, 1, 2), 1700),
        (Select(min_score=0.41), (0, 2), 700),
        (Select(min_area=401), (1,), 1000),
    ],
)
def test_chooses_and_unites(select: Select, chosen: tuple[int, ...], area: int) -> None:
    region = select(THREE)
    assert (region.image_id, region.height, region.width) == ("a", 100, 200)
    assert region.chosen == chosen
    assert region.area == area == rle.decode(region.rle, 100, 200).sum()


def test_no_segments_is_an_empty_region() -> None:
    region = Select()(found())
    assert (region.area, region.chosen) == (0, ())
    assert not rle.decode(region.rle, 100, 200).any()


def test_each_segment_grows_by_pixels_and_by_its_own_size() -> None:
    region = Select(labels=("text",), dilate_px=2, dilate_share=0.03)(THREE)
    y, x = np.nonzero(rle.decode(region.rle, 100, 200))
    assert (y.min(), y.max(), x.min(), x.max()) == (45, 64, 5, 114)  # 2 + 3 % of 100
    tiny, large = found(segment("a", 5, 5, 7, 7)), found(segment("a", 40, 60, 60, 120))
    grow = Select(dilate_share=0.1)
    assert grow(tiny).area == 2 * 2 + 4 * 2  # a share of two pixels is still one pixel
    assert rle.box(grow(large).rle, 100, 200) == (54.0, 34.0, 72.0, 32.0)


def test_too_much_region_is_rejected_instead_of_ruined() -> None:
    half = found(segment("a", 0, 0, 50, 200))
    assert Select(max_share=0.5)(half).area == 10_000
    with pytest.raises(ImageError, match=r"too_much_region: 1 segments cover 0\.500 of the image.*max_share=0\.49"):
        Select(max_share=0.49)(half)


@pytest.mark.parametrize("score", [float("nan"), float("inf"), float("-inf")])
def test_a_score_that_is_no_number_rejects_the_image_even_on_a_segment_that_is_not_wanted(score: float) -> None:
    bad = found(segment("face", 1, 1, 9, 9), segment("text", 1, 1, 9, 9, score=score))
    with pytest.raises(ImageError, match=r"bad_score.*text"):
        Select(labels=("face",))(bad)


def test_takes_the_list_that_a_config_brings() -> None:
    select = made("select", Select, labels=["face", "text"])
    assert select == Select(labels=("face", "text"))
    assert pickle.loads(pickle.dumps(select)) == select


@pytest.mark.parametrize(
    ("wrong", "key"),
    [
        ({"labels": [3]}, "labels"),
        ({"min_score": 1.2}, "min_score"),
        ({"min_score": float("nan")}, "min_score"),
        ({"min_area": 1.5}, "min_area"),
        ({"min_area": -1}, "min_area"),
        ({"dilate_px": True}, "dilate_px"),
        ({"dilate_share": "0.1"}, "dilate_share"),
        ({"max_share": -0.5}, "max_share"),
    ],
)
def test_wrong_parameters_are_named(wrong: dict[str, object], key: str) -> None:
    with pytest.raises(ConfigError, match=rf"select\.{key}(\[0\])?: expected .* got"):
        made("select", Select, **wrong)


def test_a_label_that_nobody_gives_names_the_nearest() -> None:
    Select(labels=("face",)).check(["face", "text"])
    Select().check([])
    with pytest.raises(ConfigError, match="'faces'; did you mean face"):
        Select(labels=("faces",)).check(["text", "face"])
    with pytest.raises(ConfigError, match="'plate'; known here: face, text"):
        Select(labels=("plate",)).check(["text", "face"])


@pytest.mark.parametrize("choice", ["default", "text", "faces", "all"])
def test_every_preset_stands(choice: str) -> None:
    assert (preset("select", choice) == Select()) == (choice == "default")
