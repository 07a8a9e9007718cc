"""The described networks with their real weights, on photographs whose classes somebody else gave."""

import numpy as np
import pytest

from pipeline import build
from pipeline.errors import WeightsError
from tests.fakes.class_photos import class_photo, mean_iou
from tests.fakes.real_models import masks, segments
from tests.golden.make import photo


@pytest.mark.parametrize(
    ("choice", "name", "least"), [("objects", "bird", 0.85), ("objects", "dog", 0.95), ("street", "cityscapes", 0.70)]
)
def test_it_finds_the_classes_of_a_photograph(choice: str, name: str, least: float) -> None:
    """The mean IoU, with the pixels of no class as one."""
    given = class_photo(name)
    assert mean_iou(given, masks(segments(given.rgb, choice))) > least


ALIKE = {"road": ["road", "floor"], "sidewalk": ["sidewalk"], "building": ["building", "wall", "house", "window"],
         "vegetation": ["tree", "plant"], "car": ["car"]}  # fmt: skip
"""Classes of Cityscapes, and what `scene` may call them."""


def test_a_scene_is_one_in_the_words_of_another_data_set_too() -> None:
    given = class_photo("cityscapes")
    found = masks(segments(given.rgb, "scene"))
    right = np.zeros(given.classes.shape, np.bool_)
    judged = np.zeros_like(right)
    for number, name in given.names.items():
        if name in ALIKE:
            judged |= given.classes == number
            for label in ALIKE[name]:
                right |= found.get(label, np.zeros_like(right)) & (given.classes == number)
    assert (right & judged).sum() / judged.sum() > 0.9


@pytest.mark.parametrize(
    ("name", "label", "low", "high"),
    [("astronaut", "person", 0.40, 0.52), ("chelsea", "cat", 0.6, 0.85), ("motorcycle", "motorbike", 0.25, 0.4)],
)
def test_objects_cover_the_share_of_a_photograph_that_they_have(name: str, label: str, low: float, high: float) -> None:
    """Shares as measured by eye on the photograph."""
    rgb = photo(name)
    (found,) = [one for one in segments(rgb, "objects").segments if one.label == label]
    assert low < found.area / (rgb.shape[0] * rgb.shape[1]) < high
    assert found.score > 0.9


def test_people_are_pixels() -> None:
    found = masks(segments(photo("astronaut"), "person"))
    whole = masks(segments(photo("astronaut"), "objects"))["person"]
    assert set(found) == {"person"}
    assert (found["person"] & whole).sum() / whole.sum() > 0.9
    assert segments(photo("rocket"), "person").segments == ()


def test_weights_of_photographs_for_research_are_refused_for_commercial_use() -> None:
    command = ["source.uri=a", "sink.uri=b", "execute=local", "policy.licence=commercial"]
    build.build(build.compose("annotate", [*command, "segment=[objects,scene,person]"]))
    with pytest.raises(WeightsError, match=r"is under Apache-2\.0 with Cityscapes-Non-Commercial"):
        build.build(build.compose("annotate", [*command, "segment=[street]"]))
