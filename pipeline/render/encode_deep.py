"""Encodes pixels of more than 8 bits as PNG or TIFF, with the numbers that they have.

Pillow writes no 16-bit colours and no unsigned 32 bits. OpenCV writes the PNGs; TIFFs are built by the writer that also
cuts them, deflated in strips, with a predictor for whole numbers.
"""

from __future__ import annotations

import zlib
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ImageError
from pipeline.image.deep import Deep
from pipeline.image.header import SUFFIX
from pipeline.image.strip import png, tiff
from pipeline.records import RenderedFile

_STRIP_BYTES: Final = 1 << 20
_SHORT: Final = 3
_OF_TYPE: Final = {"u": {2: 3, 4: 4}, "i": {2: 8, 4: 9}, "f": {4: 11}}
"""Kind of number -> bytes -> TIFF's type of field: SHORT, LONG, SSHORT, SLONG, FLOAT."""
_SAMPLE_FORMATS: Final = {"u": 1, "i": 2, "f": 3}


def can_hold(fmt: str, deep: Deep) -> bool:
    """Whether a file of this format can hold these pixels, and readers open it: 16-bit grey and colours as PNG; those
    and grey of any type as TIFF."""
    plain = deep.values.dtype == np.uint16 and deep.levels.black < deep.levels.white
    return (fmt == "PNG" and plain) or (
        fmt == "TIFF" and ((deep.values.ndim == 2 and not deep.alpha.size) or (deep.values.ndim == 3 and plain))
    )


def file(kind: str, fmt: str, deep: Deep, *, icc: bytes, dpi: tuple[float, float] | None) -> RenderedFile:
    """Encode as `fmt`, which `can_hold` them. icc: a profile of these channels, or empty. dpi: across and down.

    Raises ImageError `cannot_encode`.
    """
    data = _png(deep, icc, dpi) if fmt == "PNG" else _tiff(deep, icc, dpi)
    return RenderedFile(kind=kind, suffix=SUFFIX[fmt], data=data)


def _png(deep: Deep, icc: bytes, dpi: tuple[float, float] | None) -> bytes:
    values = deep.values
    if deep.alpha.size:
        colours = values if values.ndim == 3 else np.repeat(values[..., None], 3, 2)
        values = cv2.cvtColor(np.dstack([colours, deep.alpha]), cv2.COLOR_RGBA2BGRA)
    elif values.ndim == 3:
        values = cv2.cvtColor(values, cv2.COLOR_RGB2BGR)
    done, encoded = cv2.imencode(".png", values, [cv2.IMWRITE_PNG_COMPRESSION, 6])
    if not done:
        raise ImageError("cannot_encode", f"{values.shape} as a 16-bit PNG")
    data = encoded.tobytes()
    bits = round(deep.levels.white + 1).bit_length() - 1 if deep.levels.origin == "declared" else 0
    head = png.chunk(b"sBIT", bytes((bits,)) * (1 if values.ndim == 2 else values.shape[2])) if bits else b""
    head += png.profile(icc) if icc else b""
    head += png.density(dpi) if dpi else b""
    return data[:33] + head + data[33:]


def _tiff(deep: Deep, icc: bytes, dpi: tuple[float, float] | None) -> bytes:
    values = deep.values if not deep.alpha.size else np.dstack([deep.values, deep.alpha])
    height, width, samples = (*values.shape, 1)[:3]
    letter, size = values.dtype.kind, values.dtype.itemsize
    rows = max(1, _STRIP_BYTES // (width * samples * size))
    fields = {
        256: tiff.field("<", 4, width),
        257: tiff.field("<", 4, height),
        258: tiff.field("<", _SHORT, *[8 * size] * samples),
        259: tiff.field("<", _SHORT, 8),  # deflate
        262: tiff.field("<", _SHORT, 2 if samples > 1 else int(deep.levels.black < deep.levels.white)),
        277: tiff.field("<", _SHORT, samples),
        278: tiff.field("<", 4, rows),
        317: tiff.field("<", _SHORT, 1 if letter == "f" else 2),
        339: tiff.field("<", _SHORT, *[_SAMPLE_FORMATS[letter]] * samples),
    }
    if deep.alpha.size:
        fields[338] = tiff.field("<", _SHORT, 2)
    if deep.declared:
        for tag, end in zip((340, 341), deep.declared, strict=True):
            number = end if letter == "f" else round(end)
            fields[tag] = tiff.field("<", _OF_TYPE[letter][size], *[number] * samples)
    if dpi:
        fields[296] = tiff.field("<", _SHORT, 2)  # inches
        for tag, number in zip((282, 283), dpi, strict=True):
            fields[tag] = tiff.field("<", 5, round(number * 1000), 1000)
    if icc:
        fields[34675] = tiff.Field(kind=7, count=len(icc), raw=icc)
    stored = _differences(values) if letter != "f" else values
    stored = stored.astype(stored.dtype.newbyteorder("<"), copy=False)
    strips = [zlib.compress(stored[at : at + rows].tobytes()) for at in range(0, height, rows)]
    return tiff.write("<", fields, strips, tiled=False)


def _differences(values: NDArray[Any]) -> NDArray[Any]:
    """Of each sample to that on its left, modulo its type (predictor 2)."""
    whole = values.view(f"u{values.dtype.itemsize}")
    made = whole.copy()
    made[:, 1:] = whole[:, 1:] - whole[:, :-1]
    return made
