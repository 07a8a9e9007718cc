"""What a network sees of an image: its size, its numbers. Read from a checkpoint's preprocessor_config.json.

The image processors of transformers, as data: they are never imported. What they can do and this cannot is refused by
name. `torch_net.py` carries it out on the device.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from pipeline.errors import ConfigError

_FILE: Final = "preprocessor_config.json"
_RESAMPLE: Final[Mapping[object, Literal["nearest", "bilinear", "bicubic"]]] = {
    0: "nearest",
    2: "bilinear",
    3: "bicubic",
}
_UNKNOWN: Final = ("keep_aspect_ratio", "do_flip_channel_order")


@dataclass(frozen=True, kw_only=True)
class Preprocess:
    """height, width: stretched to that; or shortest: the shorter side, unless the longer one gets past `longest` (0: no
    matter); or only longest: shrunk to that longer side; or nothing: as it is. multiple: sides are rounded up to it.
    pad: with black, right and below, to at least that square. split: seen in squares along the longer side. Pixels are
    divided by `scale`, then mean and deviation of red, green, blue. resample: antialiased when it shrinks.
    """

    height: int = 0
    width: int = 0
    shortest: int = 0
    longest: int = 0
    multiple: int = 1
    pad: int = 0
    split: bool = False
    resample: Literal["nearest", "bilinear", "bicubic"] = "bilinear"
    scale: float = 255.0
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)

    def __post_init__(self) -> None:
        for key in ("height", "width", "shortest", "longest", "multiple", "pad"):
            value = getattr(self, key)
            if type(value) is not int or not 0 <= value <= 1 << 14:
                raise ConfigError(f"{_FILE}: {key}: expected a whole number of pixels, got {value!r}")
        for key in ("mean", "std"):
            values = getattr(self, key)
            if len(values) != 3 or not all(isinstance(v, int | float) and math.isfinite(v) for v in values):
                raise ConfigError(f"{_FILE}: {key}: expected three numbers, got {values!r}")
        if self.scale <= 0 or min(self.std) <= 0 or self.multiple < 1:
            raise ConfigError(f"{_FILE}: scale, deviation and multiple: expected more than 0")

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
    """Of the content of a preprocessor_config.json. Raises ConfigError for what cannot be done here."""
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


def _kind(found: Mapping[str, object]) -> str:
    return str(found.get("image_processor_type", found.get("feature_extractor_type", "")))


def _size(found: Mapping[str, object]) -> dict[str, int]:
    size, longest = found.get("size"), found.get("max_size")
    if isinstance(size, int):  # as they were written before 2023
        size = {"shortest_edge": size, "longest_edge": longest} if longest else {"height": size, "width": size}
    if not isinstance(size, Mapping):
        raise ConfigError(f"{_FILE}: size: expected height and width, or shortest_edge, got {size!r}")
    names = {"height": "height", "width": "width", "shortest_edge": "shortest", "longest_edge": "longest"}
    return {names[key]: int(value) for key, value in size.items() if key in names and value}


def _three(found: Mapping[str, object], key: str) -> tuple[float, ...]:
    values = found.get(key)
    if not isinstance(values, list):
        raise ConfigError(f"{_FILE}: {key}: expected three numbers, got {values!r}")
    return tuple(values)


def _by_shortest(height: int, width: int, shortest: int, longest: int) -> tuple[int, int]:
    """As get_size_with_aspect_ratio of transformers' image_transforms.py rounds."""
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
