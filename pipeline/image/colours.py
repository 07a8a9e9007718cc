"""One colour for each label: the same in every picture, label map, page and run.

Labels of well-known data sets have the data set's own colour. Where two data sets have a label in common, it is that of
the first of Cityscapes, Pascal VOC and ADE20K.
"""

from __future__ import annotations

import colorsys
from collections.abc import Mapping
from hashlib import blake2b
from typing import Final, TypeAlias

Colour: TypeAlias = tuple[int, int, int]
"""Red, green, blue, 0..255."""

_SALT: Final = b"262"
"""Chosen so that `face`, `text` and `salient` get distant hues."""

_CITYSCAPES: Final[Mapping[str, Colour]] = {
    "road": (128, 64, 128), "sidewalk": (244, 35, 232), "building": (70, 70, 70), "wall": (102, 102, 156),
    "fence": (190, 153, 153), "pole": (153, 153, 153), "traffic light": (250, 170, 30), "traffic sign": (220, 220, 0),
    "vegetation": (107, 142, 35), "terrain": (152, 251, 152), "sky": (70, 130, 180), "person": (220, 20, 60),
    "rider": (255, 0, 0), "car": (0, 0, 142), "truck": (0, 0, 70), "bus": (0, 60, 100), "train": (0, 80, 100),
    "motorcycle": (0, 0, 230), "bicycle": (119, 11, 32),
}  # fmt: skip
_VOC: Final[Mapping[str, Colour]] = {
    "aeroplane": (128, 0, 0), "bird": (128, 128, 0), "boat": (0, 0, 128), "bottle": (128, 0, 128), "cat": (64, 0, 0),
    "chair": (192, 0, 0), "cow": (64, 128, 0), "diningtable": (192, 128, 0), "dog": (64, 0, 128),
    "horse": (192, 0, 128), "motorbike": (64, 128, 128), "pottedplant": (0, 64, 0), "sheep": (128, 64, 0),
    "sofa": (0, 192, 0), "tvmonitor": (0, 64, 128),
}  # fmt: skip
_ADE20K: Final[Mapping[str, Colour]] = {
    "floor": (80, 50, 50), "tree": (4, 200, 3), "ceiling": (120, 120, 80), "bed": (204, 5, 255),
    "window": (230, 230, 230), "grass": (4, 250, 7), "cabinet": (224, 5, 255), "earth": (120, 120, 70),
    "door": (8, 255, 51), "table": (255, 6, 82), "mountain": (143, 255, 140), "plant": (204, 255, 4),
    "curtain": (255, 51, 7), "water": (61, 230, 250), "painting": (255, 6, 51), "shelf": (255, 7, 71),
    "house": (255, 9, 224), "sea": (9, 7, 230), "mirror": (220, 220, 220), "rug": (255, 9, 92),
    "field": (112, 9, 255), "armchair": (8, 255, 214),
}  # fmt: skip
_OWN: Final[Mapping[str, Colour]] = {**_ADE20K, **_VOC, **_CITYSCAPES}


def colour_of(label: str) -> Colour:
    """Return a label's colour: its data set's, else one of its name's hash, bright, to show on any photograph."""
    if label in _OWN:
        return _OWN[label]
    hue, value = blake2b(label.encode(), digest_size=2, salt=_SALT).digest()
    red, green, blue = colorsys.hsv_to_rgb(hue / 256, 0.9, 0.8 + value / 1275)
    return round(red * 255), round(green * 255), round(blue * 255)


def css(label: str) -> str:
    """Return a label's colour as `#rrggbb`."""
    return "#{:02x}{:02x}{:02x}".format(*colour_of(label))
