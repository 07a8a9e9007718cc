"""What is taken, and into which split: by the image id alone."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import ConfigError
from pipeline.export.choice import Choice
from pipeline.export.tables import open_tables
from pipeline.records import image_id
from tests.fakes.drawn_output import Drawn, mask, write


def test_shares_are_kept_and_an_image_stays_in_its_split() -> None:
    ids = [image_id("shard", str(number)) for number in range(4000)]
    splits = [Choice(split=(0.7, 0.2, 0.1)).split_of(each) for each in ids]
    assert [round(splits.count(name) / 4000, 1) for name in ("train", "val", "test")] == [0.7, 0.2, 0.1]
    smaller = [Choice(split=(0.7, 0.1, 0.2)).split_of(each) for each in ids]
    assert [a for a, b in zip(splits, smaller, strict=True) if a == "train" or b == "train"] == [
        b for a, b in zip(splits, smaller, strict=True) if a == "train" or b == "train"
    ]
    assert {Choice().split_of("f" * 32), Choice().split_of("0" * 32)} == {"train"}


def test_shares_that_are_no_whole_are_refused() -> None:
    with pytest.raises(ConfigError, match="add up to 1"):
        Choice(split=(0.7, 0.2, 0.2))


def test_segments_by_label_score_and_area(tmp_path: Path) -> None:
    small, large = mask(20, 20, (0, 0, 2, 2)), mask(20, 20, (5, 5, 10, 10))
    drawn = [Drawn(label="cat", score=0.5, mask=large), Drawn(label="dog", score=0.9, mask=small)]
    tables = open_tables(
        write(tmp_path, {"a.png": [*drawn, Drawn(label="cat", score=0.9, mask=np.zeros((20, 20), bool))]})
    )
    (row,) = tables.rows(tables.places[0])

    def numbers(**choice: object) -> list[int]:
        return [each.number for each in Choice(**choice).taken(row).found]  # type: ignore[arg-type]

    assert numbers() == [1, 2]  # an empty mask is no segment
    assert numbers(labels=("dog",)) == [2]
    assert numbers(min_score=0.6) == [2]
    assert numbers(min_area=5) == [1]
    assert numbers(labels=("sky",)) == []


def test_an_unknown_label_is_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean face"):
        Choice(labels=("fase",)).check(("face", "text"))
