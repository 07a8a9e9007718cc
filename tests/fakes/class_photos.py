"""Photographs whose classes of pixels somebody else gave, and weights that tests take from beside the project.

They lie in ../shared/data where a machine has them (../shared/data/coral/README.md says from where); the project holds
no copy, so tests skip without them.
"""

import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from pipeline.models.weights import Weights, cache
from pipeline.records import Rgb

SHARED: Final = Path(__file__).resolve().parents[3] / "shared" / "data"
BESIDE: Final = next((place for place in (SHARED, SHARED.parents[2] / "shared" / "data") if place.is_dir()), SHARED)


@dataclass(frozen=True, kw_only=True)
class ClassPhoto:
    """rgb: HWC uint8. classes: HW uint8, as `names` numbers them. ignored: HW bool, pixels that nobody judged."""

    rgb: Rgb
    classes: NDArray[np.uint8]
    ignored: NDArray[np.bool_]
    names: Mapping[int, str]


_NAMES: Final[Mapping[str, Mapping[int, str]]] = {
    "bird": {0: "", 3: "bird"},
    "dog": {0: "dog", 1: ""},
    "cityscapes": {0: "road", 1: "sidewalk", 2: "building", 4: "fence", 5: "pole", 8: "vegetation", 13: "car"},
}


def class_photo(name: str) -> ClassPhoto:
    """`bird`, `dog` (Pascal VOC) or `cityscapes`. Skips the test where the photographs are not."""
    folder = BESIDE / "coral"
    if not folder.is_dir():
        pytest.skip(f"needs the photographs of {folder}")
    with (
        Image.open(folder / f"{name}_segmentation.bmp") as picture,
        Image.open(folder / f"{name}_segmentation_mask.bmp") as mask,
    ):
        classes = np.asarray(mask, np.uint8)
        names = _NAMES[name]
        return ClassPhoto(
            rgb=np.asarray(picture.convert("RGB")),
            classes=classes,
            ignored=~np.isin(classes, list(names)),
            names=names,
        )


def mean_iou(photo: ClassPhoto, found: Mapping[str, NDArray[np.bool_]]) -> float:
    """Mean intersection over union of the classes that the photograph has, over the judged pixels. found: masks by
    label; pixels of no label are the class ''."""
    rest = ~np.logical_or.reduce([np.zeros(photo.classes.shape, np.bool_), *found.values()])
    judged = ~photo.ignored
    scores = []
    for number, name in photo.names.items():
        wanted = (photo.classes == number) & judged
        got = (found.get(name, np.zeros_like(rest)) if name else rest) & judged
        scores.append((wanted & got).sum() / (wanted | got).sum())
    return float(np.mean(scores))


def at_hand(weights: Weights) -> Weights:
    """The same weights, which a run then finds without the network: those that come over https are put into the cache
    from beside the project. Skips the test where they are in neither place."""
    kept = cache() / weights.sha256 / weights.path.name
    if weights.uri.startswith("https:") and not kept.is_file():
        file = BESIDE / "weights" / weights.path.name
        if not file.is_file():
            pytest.skip(f"needs {file}")
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=kept.parent, delete=False) as part:
            part.write(file.read_bytes())
        os.replace(part.name, kept)
    return weights
