"""Decode pixels of more than 8 bits a sample to their own numbers.

Pillow decodes grey of any type, but of 16-bit colours it keeps the high byte, and of planar ones it makes noise. So
colours are read by OpenCV, whose answer must agree with the high bytes, and planes one by one as grey TIFFs. OpenCV
sees only files that Pillow has decoded to their end, without chunks and tags that do not belong to the pixels.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, replace
from typing import Any, Final, cast

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, TiffImagePlugin

from pipeline.errors import ImageError
from pipeline.image.header import Header
from pipeline.image.levels import Levels, Range, levels_of, scale, unscale
from pipeline.image.strip import png as png_container
from pipeline.image.strip import tiff as tiff_container
from pipeline.image.strip.problems import CannotStrip
from pipeline.image.turn import turn
from pipeline.records import Mask, Pixels, Rgb

OPAQUE: Final[NDArray[np.uint8]] = np.zeros((0, 0), np.uint8)
"""The alpha of an opaque image."""

_GREYS: Final = frozenset({"I;16", "I;16L", "I;16B", "I;16N", "I", "F"})
_COLOURS: Final = frozenset({"RGB", "RGBX", "RGBA", "LA"})
_PHOTOMETRIC, _PLANAR, _EXTRA, _SAMPLE_FORMAT = 262, 284, 338, 339
_PREMULTIPLIED: Final = 1
_RANGE_TAGS: Final = ((340, 341), (280, 281))
"""SMinSampleValue and SMaxSampleValue; MinSampleValue and MaxSampleValue (TIFF 6.0, sections 19 and 8)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Deep:
    """An image of more than 8 bits a sample. Its colours are straight: not composited.

    values: HW or HWC (3) of uint16, int16, int32, uint32 or float32, of the machine's byte order. alpha: HW of the same
    type, or of shape (0, 0). opaque: the number of an opaque pixel in alpha. declared: the lowest and the highest
    number, where a TIFF says them.
    """

    values: NDArray[Any]
    alpha: NDArray[Any]
    opaque: float
    levels: Levels
    declared: Range | None = None

    def to_8_bits(self) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Scale to HW or HWC uint8, straight, and alpha (HW), or `OPAQUE` when it is so everywhere.

        Raises ImageError `out_of_range` or `not_finite`.
        """
        shown = scale(self.values, self.levels.black, self.levels.white)
        if not self.alpha.size or self.alpha.min() == self.opaque:
            return shown, OPAQUE
        return shown, np.rint(np.clip(self.alpha * (255 / self.opaque), 0, 255)).astype(np.uint8)

    def straight(self) -> Pixels:
        """The same as `Pixels`, straight."""
        shown, alpha = self.to_8_bits()
        return Pixels(rgb=shown if shown.ndim == 3 else np.repeat(shown[..., None], 3, 2), alpha=alpha)

    def filled(self, rgb: Rgb, region: Mask) -> Deep:
        """Put the colours of `rgb` (HWC uint8) inside `region` (HW bool), opaque, and change no number outside. Grey
        becomes colour where the fill has colours."""
        patch = rgb[region]
        grey = bool((patch == patch[:, :1]).all())
        values, alpha = self.values, self.alpha.copy()
        if values.ndim == 2 and not grey:
            values = np.repeat(values[..., None], 3, 2)
        values = values.copy()
        levels = patch[:, 0] if values.ndim == 2 else patch
        values[region] = unscale(levels, self.levels.black, self.levels.white, values.dtype)
        if alpha.size:
            alpha[region] = self.opaque
        return replace(self, values=values, alpha=alpha)

    def flattened(self) -> Deep:
        """Composite onto white, so that no colour is hidden under alpha."""
        if not self.alpha.size:
            return self
        share = self.alpha.astype(np.float64) / self.opaque
        share = share if self.values.ndim == 2 else share[..., None]
        mixed = self.values * share + self.levels.white * (1 - share)
        values = mixed if self.values.dtype.kind == "f" else np.rint(mixed)
        return replace(self, values=values.astype(self.values.dtype), alpha=OPAQUE)

    def turned(self, orientation: int) -> Deep:
        """Turn upright what is stored. orientation: EXIF 1..8."""
        alpha = turn(self.alpha, orientation) if self.alpha.size else self.alpha
        return replace(self, values=turn(self.values, orientation), alpha=alpha)


def is_deep(header: Header) -> bool:
    """Whether `load_deep` reads an image with this header. Not colours of one frame of several: OpenCV, which keeps all
    their bits, reads the first frame only."""
    if header.mode in _GREYS:
        return True
    return not header.frame and header.bits > 8 and header.mode in _COLOURS and header.format in ("PNG", "TIFF")


def load_deep(image: ImageFile.ImageFile, header: Header, float_range: tuple[float, float]) -> Deep:
    """Decode all pixels of an opened image for which `is_deep` holds: upright for a TIFF, as stored for others.

    float_range: black and white of floats that declare no range. Raises ImageError `unsupported_mode`, `undecodable` or
    `out_of_range`, and whatever Pillow raises.
    """
    # All of these before loading, which drops a TIFF's tags and closes the file.
    data = cast(io.BytesIO, image.fp).getvalue() if header.format in ("PNG", "TIFF") else b""
    tiff = image if isinstance(image, TiffImagePlugin.TiffImageFile) else None
    signs = tuple(tiff.tag_v2.get(_SAMPLE_FORMAT, (1,))) if tiff else (1,)
    white_is_zero = bool(tiff and tiff.tag_v2.get(_PHOTOMETRIC) == 0)
    planar = bool(tiff and tiff.tag_v2.get(_PLANAR) == 2)
    premultiplied = bool(tiff and _PREMULTIPLIED in tuple(tiff.tag_v2.get(_EXTRA, ())))
    declared = declared_range(tiff)
    alpha: NDArray[Any] = OPAQUE
    if header.mode in _GREYS:
        image.load()
        values = np.asarray(image)
        if header.mode == "I":  # Pillow's int32, of signed 16 bits, too
            letter = "u" if signs[0] == 1 else "i"
            values = values.astype(f"{letter}{2 if header.bits <= 16 else 4}")
        values = values.astype(values.dtype.newbyteorder("="), copy=False)
    elif set(signs) != {1}:
        raise ImageError("unsupported_mode", "expected unsigned colours, got signed ones or floats")
    else:
        values, alpha = _colours(image, header, data, planar=planar)
    if (hidden := image.info.get("transparency")) is not None:  # one grey level or colour of a PNG
        same = values == np.asarray(hidden)
        alpha = np.where(same if same.ndim == 2 else same.all(-1), 0, 65535).astype(np.uint16)
    levels = levels_of(
        values,
        of_type=float_range if header.mode == "F" else _ends(header, values.dtype),
        declared=declared or (_significant(data, values) if header.format == "PNG" else None),
        white_is_zero=white_is_zero,
    )
    opaque = float((1 << header.bits) - 1)
    if alpha.size and 0 < alpha.max() <= levels.white < opaque:
        opaque = levels.white  # alpha has the bits of the colours
    deep = Deep(values=values, alpha=alpha, opaque=opaque, levels=levels, declared=declared)
    return _unmultiplied(deep) if premultiplied and alpha.size else deep


def declared_range(tiff: TiffImagePlugin.TiffImageFile | None) -> Range | None:
    """Read black and white from the tags of a TIFF; None when it has no usable pair."""
    for low, high in _RANGE_TAGS if tiff else ():
        ends = [_first(tiff.tag_v2.get(tag)) for tag in (low, high)] if tiff else []
        first = [end for end in ends if end is not None]
        if len(first) == 2 and np.isfinite(first).all() and first[0] < first[1]:
            return first[0], first[1]
    return None


def _first(end: object) -> float | None:
    """The first number of a tag: Pillow gives one, a tuple, or bytes where the tag is typed BYTE or UNDEFINED."""
    while isinstance(end, tuple | bytes) and end:
        end = end[0]
    try:
        return float(end)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None


def _significant(data: bytes, values: NDArray[Any]) -> Range | None:
    """Read sBIT, if no number has more bits: the standard wants n bits scaled to 16, but cameras leave them as they
    are."""
    at = 8
    while at + 8 <= len(data) and (kind := data[at + 4 : at + 8]) != b"IDAT":
        size = int.from_bytes(data[at : at + 4], "big")
        if kind == b"sBIT" and 0 < size <= 4:
            bits = max(data[at + 8 : at + 8 + min(size, 3)]) if size != 2 else data[at + 8]
            return (0.0, float((1 << bits) - 1)) if 0 < bits < 16 and values.max() < 1 << bits else None
        at += size + 12
    return None


def _ends(header: Header, dtype: np.dtype[Any]) -> Range:
    steps = 2.0**header.bits
    return (0.0, steps - 1) if dtype.kind == "u" else (-steps / 2, steps / 2 - 1)


def _colours(
    image: ImageFile.ImageFile, header: Header, data: bytes, *, planar: bool
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Decode 16-bit colours to HWC (3) uint16 and alpha, HW or `OPAQUE`."""
    if header.bits != 16:
        raise ImageError("unsupported_mode", f"expected colours of 8 or 16 bits, got {header.bits}: convert it")
    orientation = 1
    if header.format == "TIFF":
        orientation = header.orientation
        try:
            data = tiff_container.strip(data, keep_icc=False)
            parts = [_grey_plane(plane) for plane in tiff_container.planes(data)] if planar else []
        except CannotStrip as error:
            raise ImageError(
                "unsupported_mode", f"its 16-bit colours cannot be read ({error.detail}): convert it"
            ) from error
    if planar:
        samples = np.dstack(parts)
    else:
        image.load()
        samples = _by_opencv(png_container.bare(data) if header.format == "PNG" else data)
        high = turn(np.asarray(samples >> 8, np.uint8), orientation)
        shown = np.asarray(image.convert("RGBA") if header.mode == "LA" else image)
        # Of premultiplied colours Pillow shows others than the stored ones.
        channels = slice(3, 4) if header.mode == "RGBA" and header.format == "TIFF" else slice(0, 3)
        if samples.dtype != np.uint16 or not np.array_equal(high[..., channels], shown[..., channels]):
            raise ImageError("undecodable", "expected 16-bit colours that two decoders read alike, got other ones")
    samples = turn(samples, orientation)
    has_alpha = samples.shape[2] == 4 and header.mode in ("RGBA", "LA")
    return np.ascontiguousarray(samples[..., :3]), np.ascontiguousarray(samples[..., 3]) if has_alpha else OPAQUE


def _grey_plane(data: bytes) -> NDArray[Any]:
    with Image.open(io.BytesIO(data), formats=("TIFF",)) as plane:
        return np.asarray(plane).astype(np.uint16)


def _by_opencv(data: bytes) -> NDArray[Any]:
    """HWC (3 or 4), red first."""
    found = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if found is None or found.ndim != 3 or found.shape[2] not in (3, 4):
        raise ImageError("undecodable", "expected 16-bit colours, got a file that cannot be read to its end")
    return cv2.cvtColor(found, cv2.COLOR_BGR2RGB if found.shape[2] == 3 else cv2.COLOR_BGRA2RGBA)


def _unmultiplied(deep: Deep) -> Deep:
    share = np.maximum(deep.alpha, 1).astype(np.float64)[..., None] / deep.opaque
    return replace(deep, values=np.rint(np.clip(deep.values / share, 0, deep.opaque)).astype(deep.values.dtype))
