"""Objects one by one, with the real weights, on photographs whose answer somebody else gave; and what may overlap."""

import numpy as np
import pytest

from pipeline import build
from pipeline.errors import ConfigError
from pipeline.image import rle
from pipeline.records import Segments
from tests.fakes.class_photos import class_photo
from tests.fakes.real_models import masks, segments
from tests.golden.make import photo


def iou(one: np.ndarray, other: np.ndarray) -> float:
    return float((one & other).sum() / (one | other).sum())


def test_a_bird_has_the_mask_that_was_given() -> None:
    given = class_photo("bird")
    found = segments(given.rgb, "instances")
    assert [one.label for one in found.segments] == ["bird"]
    judged = ~given.ignored
    assert iou(masks(found)["bird"] & judged, (given.classes == 3) & judged) > 0.9


def test_two_cars_are_two() -> None:
    given = class_photo("cityscapes")
    found = segments(given.rgb, "instances")
    assert [one.label for one in found.segments] == ["car", "car"]
    first, second = (rle.decode(one.rle, found.height, found.width) for one in found.segments)
    assert iou(first, second) < 0.05
    assert iou(first | second, given.classes == 13) > 0.8


def covered(found: Segments) -> np.ndarray:
    """The number of segments at each pixel."""
    total = np.zeros((found.height, found.width), np.int64)
    for one in found.segments:
        total += rle.decode(one.rle, found.height, found.width)
    return total


def test_things_lie_over_stuff_without_overlap() -> None:
    found = segments(photo("motorcycle"), "panoptic")
    labels = {one.label: one for one in found.segments}
    assert {"motorcycle", "floor", "wall"} <= set(labels)
    assert labels["motorcycle"].model.startswith("object_detector-")
    assert labels["floor"].model.startswith("mobile_segmenter_r4")
    counts = covered(found)
    assert counts.max() == 1
    assert counts.mean() > 0.95
    assert not {"bed", "person", "car"}.intersection(labels)  # classes of stuff that are objects
    alone = masks(segments(photo("motorcycle"), "instances"))["motorcycle"]
    assert iou(masks(found)["motorcycle"], alone) > 0.99


def test_a_picture_of_nothing_has_no_object() -> None:
    assert segments(np.full((200, 300, 3), 127, np.uint8), "instances").segments == ()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("segment.panoptic.skip=[persona]", r"skip: expected classes of stuff, got 'persona'"),
        ("segment.panoptic.stuff.result=label_map", r"stuff: expected result=logits or probabilities"),
        ("segment.panoptic.things.encoder.uri=file:/a.tflite", r"encoder: expected the weights of a \.onnx file"),
    ],
)
def test_a_config_that_cannot_be_is_refused(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build.build(build.compose("annotate", ["source.uri=a", "sink.uri=b", "segment=[panoptic]", override]))
