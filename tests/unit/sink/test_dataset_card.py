"""The notes of an output: every class with its id, and a config a table for Hugging Face datasets."""

import json

import pytest
import yaml

from pipeline.image.colours import css
from pipeline.sink.dataset_card import CARD, CLASSES, notes


def configs(kinds: tuple[str, ...]) -> list[dict[str, object]]:
    card = notes("clean", {}, kinds)[CARD].decode()
    _, front, text = card.split("---\n")
    assert "segfill clean" in text
    found: list[dict[str, object]] = yaml.safe_load(front)["configs"]
    return found


@pytest.mark.parametrize("kinds", [("filled", "labels"), ("overlay",), ()])
def test_each_table_is_a_config_and_the_images_are_the_default(kinds: tuple[str, ...]) -> None:
    found = configs(kinds)
    assert {config["config_name"]: config["data_files"] for config in found} == {
        "images": "images/*.parquet",
        "masks": "masks/*.parquet",
        **{kind: f"rendered/{kind}/*.parquet" for kind in kinds},
    }
    assert [config["config_name"] for config in found if config.get("default")] == [*kinds, "images"][:1]


def test_classes_by_id() -> None:
    made = notes("annotate", {"face": 1, "Straße": 2}, ())[CLASSES]
    assert json.loads(made.decode()) == [
        {"id": 1, "name": "face", "colour": css("face")},
        {"id": 2, "name": "Straße", "colour": css("Straße")},
    ]
    assert json.loads(notes("annotate", {}, ())[CLASSES]) == []
