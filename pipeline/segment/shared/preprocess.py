"""What a network sees of an image, read from a checkpoint's preprocessor_config.json.

The image processors of transformers as data: they are never imported, and settings of theirs that are not supported
here are refused by name. torch_runner.py applies it on the device.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import Field

from pipeline.errors import ConfigError
from pipeline.spec import FieldError, spec

_Pixels = Annotated[int, Field(ge=0, le=1 << 14)]
Positive = Annotated[float, Field(gt=0)]

_FILE: Final = "preprocessor_config.json"
_RESAMPLE: Final[Mapping[object, Literal["nearest", "bilinear", "bicubic"]]] = {
    0: "nearest",
    2: "bilinear",
    3: "bicubic",
}
_UNKNOWN: Final = ("keep_aspect_ratio", "do_flip_channel_order")


@spec
class Preprocess:
    """What a network sees of an image: the size, then the numbers.

    The size is height x width, or that of `shortest` and `longest`, or the image's own; pixels are divided by `scale`,
    then `mean` and `std` of red, green, blue apply.
    """

    height: _Pixels = 0
    """Stretch the image to height and width; 0: do not."""
    width: _Pixels = 0
    """See height."""
    shortest: _Pixels = 0
    """Resize the shorter side to this, unless the longer side gets past `longest`; 0: do not."""
    longest: _Pixels = 0
    """Without `shortest`, shrink the longer side to this; 0: no limit."""
    multiple: Annotated[int, Field(ge=1, le=1 << 14)] = 1
    """Sides are rounded up to a multiple of this."""
    pad: _Pixels = 0
    """Fill up with black, right and below, to a square of at least this side."""
    split: bool = False
    """See the image in squares along its longer side."""
    resample: Literal["nearest", "bilinear", "bicubic"] = "bilinear"
    """bilinear and bicubic are antialiased where they shrink."""
    scale: Positive = 255.0
    """Divisor of the pixels."""
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    """Subtracted from the scaled pixels."""
    std: tuple[Positive, Positive, Positive] = (0.229, 0.224, 0.225)
    """Divisor of the rest."""

    def size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width to which an image of that size is resized."""
        if self.height:
            height, width = self.height, self.width
        elif self.shortest:
            height, width = _by_shortest(height, width, self.shortest, self.longest)
        elif self.longest:
            scale = min(1.0, self.longest / max(height, width))
            height, width = max(1, round(height * scale)), max(1, round(width * scale))
        return _up(height, self.multiple), _up(width, self.multiple)


def from_config(found: Mapping[str, object]) -> Preprocess:
    """From the content of a preprocessor_config.json. Raises ConfigError for a setting that is not supported."""
    for key in _UNKNOWN:
        if found.get(key):
            raise ConfigError(f"{_FILE}: {key} is not supported; export the model as .onnx and use segment=onnx_model")
    resample = _RESAMPLE.get(found.get("resample", 2))
    if resample is None:
        raise ConfigError(
            f"{_FILE}: resample: expected 0, 2 or 3 (nearest, bilinear, bicubic), got {found['resample']}"
        )
    size = _size(found) if found.get("do_resize", True) else {}
    crop = found.get("crop_size")
    if found.get("do_center_crop") and not (size.get("height") and crop in (size, size.get("height"))):
        raise ConfigError(f"{_FILE}: do_center_crop would leave a part of the image unseen; set it to false in a copy")
    normal = found.get("do_normalize", True)
    divisor = found.get("size_divisor", 0)
    pad = max(size.get("shortest", 0), size.get("longest", 0)) if found.get("do_pad") and "Eomt" in _kind(found) else 0
    factor = found.get("rescale_factor", 1 / 255)
    if not isinstance(factor, int | float) or factor <= 0:
        raise ConfigError(f"{_FILE}: rescale_factor: expected a positive number, got {factor!r}")
    try:
        return Preprocess(
            **size,
            multiple=divisor if isinstance(divisor, int) and divisor > 0 else 1,
            pad=pad,
            split=bool(found.get("do_split_image")),
            resample=resample,
            scale=1 / factor if found.get("do_rescale", True) else 1.0,
            mean=_three(found, "image_mean") if normal else (0.0, 0.0, 0.0),
            std=_three(found, "image_std") if normal else (1.0, 1.0, 1.0),
        )
    except FieldError as error:
        raise ConfigError(f"{_FILE}: {error}") from error


def _kind(found: Mapping[str, object]) -> str:
    return str(found.get("image_processor_type", found.get("feature_extractor_type", "")))


def _size(found: Mapping[str, object]) -> dict[str, int]:
    size, longest = found.get("size"), found.get("max_size")
    if isinstance(size, int):  # the form before 2023
        size = {"shortest_edge": size, "longest_edge": longest} if longest else {"height": size, "width": size}
    if not isinstance(size, Mapping):
        raise ConfigError(f"{_FILE}: size: expected height and width, or shortest_edge, got {size!r}")
    names = {"height": "height", "width": "width", "shortest_edge": "shortest", "longest_edge": "longest"}
    return {names[key]: int(value) for key, value in size.items() if key in names and value}


def _three(found: Mapping[str, object], key: str) -> tuple[Any, Any, Any]:
    values = found.get(key)
    if not isinstance(values, list) or len(values) != 3:
        raise ConfigError(f"{_FILE}: {key}: expected three numbers, got {values!r}")
    return values[0], values[1], values[2]


def _by_shortest(height: int, width: int, shortest: int, longest: int) -> tuple[int, int]:
    """With the rounding of get_size_with_aspect_ratio in transformers' image_transforms.py."""
    low, high = min(height, width), max(height, width)
    exact = float(shortest)
    if longest and high / low * shortest > longest:
        exact = longest * low / high
        shortest = round(exact)
    if low == shortest:
        return height, width
    other = int(exact * high / low)
    return (shortest, other) if height <= width else (other, shortest)


def _up(side: int, multiple: int) -> int:
    return -(-side // multiple) * multiple
