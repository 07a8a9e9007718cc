"""What every segmenter needs around its model: checks of its parameters, and a found mask as a record."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ConfigError, ImageError
from pipeline.image import rle
from pipeline.models.weights import Weights
from pipeline.records import Mask, Segment, Tile, View


class HasTag(Protocol):
    """What the tables name a model by."""

    @property
    def tag(self) -> str: ...


def check_number(key: str, value: object, low: float, high: float) -> None:
    """Raises ConfigError unless `value` is a number from low to high. bool is not a number."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
        raise ConfigError(f"segment.{key}: expected a number from {low:g} to {high:g}, got {value!r}")


def check_whole(key: str, value: object, low: int, high: int) -> None:
    """Raises ConfigError unless `value` is a whole number from low to high."""
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ConfigError(f"segment.{key}: expected a whole number from {low} to {high}, got {value!r}")


def check_flag(key: str, value: object) -> None:
    if not isinstance(value, bool):
        raise ConfigError(f"segment.{key}: expected true or false, got {value!r}")


def check_file(key: str, value: object, suffix: str) -> None:
    """Raises ConfigError unless these are weights in a file of that suffix."""
    if not isinstance(value, Weights) or value.path.suffix.lower() != suffix:
        raise ConfigError(f"segment.{key}: expected the weights of a {suffix} file, got {value!r}")


def check_onnx(key: str, value: object) -> None:
    check_file(key, value, ".onnx")


def whole(view: View) -> Tile:
    """The one tile of a view that shows the whole image. Raises ImageError for any other view."""
    if len(view.tiles) != 1 or view.tiles[0].box != (0.0, 0.0, float(view.width), float(view.height)):
        raise ImageError("wrong_view", f"expected one tile of the whole image, got {len(view.tiles)} of a part")
    return view.tiles[0]


def check_finite(*answers: NDArray[np.float32]) -> None:
    """Raises ImageError when a model answered with NaN or infinity: nothing found must never mean nothing computed."""
    if not all(np.isfinite(answer).all() for answer in answers):
        raise ImageError("nan_scores", "the model answered with numbers that are not finite; try device=cpu")


def segment(
    crop: Mask, *, x: int, y: int, view: View, label: str, score: float, model: HasTag, class_id: int = 0
) -> Segment:
    """A record of the mask that is `crop` with its left upper pixel at x, y of the full-size image."""
    area, box = rle.extent_at(crop, view.height, view.width, x=x, y=y)
    return Segment(
        label=label,
        class_id=class_id,
        score=float(score),
        rle=rle.encode_at(crop, view.height, view.width, x=x, y=y),
        box=box,
        area=area,
        model=model.tag,
    )
