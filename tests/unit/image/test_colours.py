"""A label has one colour: the data set's own where it has one, else one that shows on a photograph."""

import pytest

from pipeline import build
from pipeline.image.colours import colour_of, css

PLACES = ["source.uri=a", "sink.uri=b"]
NAMES = {
    choice: list(filter(None, build.compose("annotate", [*PLACES, f"segment={choice}"]).segment[choice].names))
    for choice in ("objects", "scene", "street")
}


@pytest.mark.parametrize(
    ("label", "colour"),
    [
        ("road", (128, 64, 128)),
        ("person", (220, 20, 60)),
        ("cat", (64, 0, 0)),
        ("tree", (4, 200, 3)),
        ("door", (8, 255, 51)),
    ],
)
def test_well_known_labels_have_the_colour_of_their_data_set(label: str, colour: tuple[int, int, int]) -> None:
    assert colour_of(label) == colour


@pytest.mark.parametrize("choice", NAMES)
def test_no_two_classes_of_a_model_look_alike(choice: str) -> None:
    assert len({colour_of(name) for name in NAMES[choice]}) == len(NAMES[choice])
    assert (0, 0, 0) not in {colour_of(name) for name in NAMES[choice]}


def test_other_labels_are_bright_and_stay_as_they_are() -> None:
    assert {label: css(label) for label in ("face", "text", "salient")} == SEEN
    for label in ("face", "text", "salient", "plate", "my own label"):
        assert max(colour_of(label)) >= 200


SEEN = {"face": "#b819f8", "text": "#df7e16", "salient": "#19fea8"}
