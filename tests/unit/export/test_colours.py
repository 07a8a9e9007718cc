"""Colours by name, as the tables that people know have them."""

from pathlib import Path

import pytest

from pipeline.errors import ConfigError
from pipeline.export.colours import colours_of, read_table, voc_colour
from pipeline.image.colours import colour_of


def test_voc_has_the_published_colours() -> None:
    assert [voc_colour(number) for number in (0, 1, 2, 15, 20)] == [
        (0, 0, 0), (128, 0, 0), (0, 128, 0), (192, 128, 128), (0, 64, 128),
    ]  # fmt: skip


def test_a_label_gets_the_colour_of_its_name_else_our_own() -> None:
    labels = {"person": 1, "Cat": 2, "sprocket": 3}
    assert colours_of(labels, "voc", {}) == {
        "person": (192, 128, 128), "Cat": (64, 0, 0), "sprocket": colour_of("sprocket"),
    }  # fmt: skip
    assert colours_of(labels, "cityscapes", {"Cat": (1, 2, 3)})["Cat"] == (1, 2, 3)
    assert colours_of(labels, "cityscapes", {})["person"] == (220, 20, 60)
    assert colours_of(labels, "own", {})["person"] == colour_of("person")


def test_a_table_of_own_colours(tmp_path: Path) -> None:
    (tmp_path / "t.tsv").write_text("id\tname\tcolour\n7\tface\t#ff8000\n")
    assert read_table(str(tmp_path / "t.tsv")) == {"face": (255, 128, 0)}


@pytest.mark.parametrize("text", ["name\tcolour\nface\tred\n", "face #ff8000\ntext #000000\n"])
def test_what_is_no_table_is_refused_with_its_line(text: str, tmp_path: Path) -> None:
    (tmp_path / "t.tsv").write_text(text)
    with pytest.raises(ConfigError, match="line 2: expected columns name and colour"):
        read_table(str(tmp_path / "t.tsv"))
    with pytest.raises(ConfigError, match="expected a table"):
        read_table(str(tmp_path / "missing.tsv"))
