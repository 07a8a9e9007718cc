"""Colours of classes in label maps: those of a well-known table by the name of the class, those that are given, or our
own."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping
from typing import Final, Literal, TypeAlias

from pipeline.errors import ConfigError
from pipeline.image.colours import colour_of
from pipeline.storage.store import open_store

Palette: TypeAlias = Literal["own", "voc", "cityscapes"]
Colour: TypeAlias = tuple[int, int, int]
"""RGB, 0..255."""

_VOC_NAMES: Final = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)
"""Classes 1 to 20 of PASCAL VOC."""

_CITYSCAPES: Final[Mapping[str, Colour]] = {
    "road": (128, 64, 128),
    "sidewalk": (244, 35, 232),
    "parking": (250, 170, 160),
    "rail track": (230, 150, 140),
    "building": (70, 70, 70),
    "wall": (102, 102, 156),
    "fence": (190, 153, 153),
    "guard rail": (180, 165, 180),
    "bridge": (150, 100, 100),
    "tunnel": (150, 120, 90),
    "pole": (153, 153, 153),
    "traffic light": (250, 170, 30),
    "traffic sign": (220, 220, 0),
    "vegetation": (107, 142, 35),
    "terrain": (152, 251, 152),
    "sky": (70, 130, 180),
    "person": (220, 20, 60),
    "rider": (255, 0, 0),
    "car": (0, 0, 142),
    "truck": (0, 0, 70),
    "bus": (0, 60, 100),
    "caravan": (0, 0, 90),
    "trailer": (0, 0, 110),
    "train": (0, 80, 100),
    "motorcycle": (0, 0, 230),
    "bicycle": (119, 11, 32),
}
"""cityscapesScripts, helpers/labels.py."""


def voc_colour(number: int) -> Colour:
    """The colour of a class number in PASCAL VOC: its bits, three at a time, are spread over the upper bits of red,
    green and blue."""
    red = green = blue = 0
    for place in range(8):
        red |= (number >> 0 & 1) << (7 - place)
        green |= (number >> 1 & 1) << (7 - place)
        blue |= (number >> 2 & 1) << (7 - place)
        number >>= 3
    return red, green, blue


_TABLES: Final[Mapping[str, Mapping[str, Colour]]] = {
    "own": {},
    "voc": {name: voc_colour(number) for number, name in enumerate(_VOC_NAMES, 1)},
    "cityscapes": _CITYSCAPES,
}


def colours_of(labels: Mapping[str, int], palette: Palette, given: Mapping[str, Colour]) -> dict[str, Colour]:
    """Label -> colour: the one that is `given`, else that of the palette, else the one of our overlays."""
    table = {**_TABLES[palette], **given}
    return {label: table.get(label) or table.get(label.lower()) or colour_of(label) for label in labels}


def read_table(uri: str) -> dict[str, Colour]:
    """Read `name<TAB>colour` lines below a line that names the columns: the `classes.tsv` of an export of label maps is
    such a table. A colour is `#ff8000`. Raises ConfigError for anything else."""
    folder, _, name = uri.rpartition("/")
    try:
        text = open_store(folder or "/" if uri.startswith("/") else folder or ".").read(name).decode()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"colours={uri}: expected a table of names and colours: {error}") from error
    found: dict[str, Colour] = {}
    for number, row in enumerate(csv.DictReader(io.StringIO(text), delimiter="\t"), 2):
        label, colour = row.get("name"), row.get("colour") or ""
        if not label or not re.fullmatch("#[0-9a-fA-F]{6}", colour):
            raise ConfigError(
                f"colours={uri}, line {number}: expected columns name and colour, a colour such as #ff8000, got {row}"
            )
        red, green, blue = (int(colour[at : at + 2], 16) for at in (1, 3, 5))
        found[label] = (red, green, blue)
    return found
