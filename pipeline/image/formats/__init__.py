"""Formats that Pillow does not read, or not rightly: one file a family, each opened as an image of Pillow.

The packages of the extras are imported when the first such image is met. They are called, not found by `Image.open`:
whether one has registered itself with Pillow makes no other format readable.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from PIL import ImageFile

from pipeline.errors import ImageError

Opener = Callable[[bytes], ImageFile.ImageFile]

_FAMILIES: Final[Mapping[str, tuple[str, str, str]]] = MappingProxyType(
    {
        "JPEG2000": ("jpeg2000", "JPEG 2000", ""),
        "HEIF": ("heif", "HEIC", "heif"),
        "JXL": ("jxl", "JPEG XL", "jxl"),
        "DICOM": ("dicom", "DICOM", "medical"),
        "NIFTI": ("nifti", "NIfTI", "medical"),
    }
)
"""Format -> module of this folder, name for people, extra."""


def opener(kind: str) -> Opener | None:
    """Return the function that opens images of this format; None for one that Pillow opens itself.

    Raises ImageError `format_not_allowed`, which names the extra, when its package is not installed.
    """
    if kind not in _FAMILIES:
        return None
    module, name, extra = _FAMILIES[kind]
    try:
        family = importlib.import_module(f"{__name__}.{module}")
    except ImportError as error:
        raise ImageError(
            "format_not_allowed", f"{name} needs the extra {extra}: pip install 'segfill[{extra}]' ({error})"
        ) from error
    opened: Opener = family.open_bytes
    return opened
