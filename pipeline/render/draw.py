"""Draws segments: overlay, label map, mask picture, blanking, thumbnails."""

from __future__ import annotations

from collections.abc import Container, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ImageError
from pipeline.image import rle
from pipeline.image.colours import Colour, colour_of
from pipeline.records import Mask, Rgb, Segment, Segments

_TINT = 0.45
_WHITE = (255, 255, 255)
_HATCH = 8
_DARK = 128
"""A name whose colour has no channel as bright as this is written in white: it stands on black."""


def overlay(rgb: Rgb, segments: Segments) -> Rgb:
    """Return a copy with each segment tinted in the colour of its label and outlined.

    Each label is written once, at its largest segment. rgb: HWC uint8.
    """
    out = tinted(rgb, segments, range(len(segments.segments)), line=max(1, round(max(rgb.shape[:2]) / 500)))
    largest: dict[str, Segment] = {}
    for segment in sorted(segments.segments, key=lambda s: s.area):
        largest[segment.label] = segment
    for segment in largest.values():
        _name(out, segment, segments)
    return out


def tinted(rgb: Rgb, segments: Segments, chosen: Container[int], *, line: int) -> Rgb:
    """Return a copy with the chosen segments (positions) tinted and all outlined. line: width in pixels."""
    out = rgb.copy()
    for position, segment in _weakest_first(segments):
        x, y, mask = _cut(segment, segments)
        if not mask.size:
            continue
        part = out[y : y + mask.shape[0], x : x + mask.shape[1]]
        if position in chosen:
            colour = np.array(colour_of(segment.label), np.float32)
            part[mask] = np.rint(part[mask] * (1 - _TINT) + colour * _TINT).astype(np.uint8)
        part[_rim(mask, line)] = colour_of(segment.label)
    return out


def label_map(segments: Segments) -> NDArray[np.uint16]:
    """Return an HW map: 0 is background, else the class id of the segment with the highest score at that pixel, the
    later one of equal scores. Raises ImageError `unknown_label` for a class id outside of 1..65535."""
    out = np.zeros((segments.height, segments.width), np.uint16)
    for _, segment in _weakest_first(segments):
        if not 1 <= segment.class_id <= 65535:
            raise ImageError(
                "unknown_label", f"expected a class id from 1 to 65535, got {segment.class_id} for {segment.label!r}"
            )
        x, y, mask = _cut(segment, segments)
        out[y : y + mask.shape[0], x : x + mask.shape[1]][mask] = segment.class_id
    return out


def label_colours(segments: Segments) -> dict[int, Colour]:
    """Return class id -> colour of the labels that are there."""
    return {segment.class_id: colour_of(segment.label) for segment in segments.segments}


def mask_picture(segments: Segments, region: Mask, chosen: Container[int], *, line: int) -> Rgb:
    """Draw the chosen segments (positions) in the colours of their labels on black, the rest of the region white, and
    of the other segments the outline. region: HW bool. line: width in pixels."""
    out = np.zeros((*region.shape, 3), np.uint8)
    out[region] = 255
    for position, segment in _weakest_first(segments):
        x, y, mask = _cut(segment, segments)
        shown = mask if position in chosen or not mask.size else _rim(mask, line)
        out[y : y + mask.shape[0], x : x + mask.shape[1]][shown] = colour_of(segment.label)
    return out


def _rim(mask: Mask, line: int) -> Mask:
    kernel = np.ones((2 * line + 1, 2 * line + 1), np.uint8)
    inner = cv2.erode(mask.astype(np.uint8), kernel, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    return np.asarray(mask & (inner == 0))


def united(segments: Sequence[Segment], height: int, width: int) -> Mask:
    """Return the union of the segments' masks, HW bool."""
    return rle.decode(rle.union([s.rle for s in segments], height, width), height, width)


def blanked(rgb: Rgb, region: Mask) -> Rgb:
    """Return a copy with a grey hatch in place of the region (HW bool)."""
    rows, columns = np.ogrid[: region.shape[0], : region.shape[1]]
    hatch = np.where((rows + columns) // _HATCH % 2 == 0, np.uint8(128), np.uint8(150))
    return np.where(region[..., None], hatch[..., None], rgb)


def thumbnail(rgb: Rgb, side: int) -> Rgb:
    """Shrink by area averages until the longer side has `side` pixels; never enlarge."""
    height, width = rgb.shape[:2]
    scale = side / max(height, width)
    if scale >= 1:
        return rgb
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), np.uint8)


def _weakest_first(segments: Segments) -> list[tuple[int, Segment]]:
    """Return positions and segments, the lowest score first."""
    return sorted(enumerate(segments.segments), key=lambda pair: pair[1].score)


def _cut(segment: Segment, segments: Segments) -> tuple[int, int, Mask]:
    """Return x, y and the mask cropped to its bounding box."""
    x, y, width, height = (int(v) for v in rle.box(segment.rle, segments.height, segments.width))
    mask = rle.decode_at(segment.rle, segments.height, segments.width, x=x, y=y, crop_height=height, crop_width=width)
    return x, y, mask


def _name(out: Rgb, segment: Segment, segments: Segments) -> None:
    text, font = f"{segment.label} {segment.score:.2f}", cv2.FONT_HERSHEY_SIMPLEX
    scale = max(0.35, max(out.shape[:2]) / 1400)
    thick = max(1, round(scale * 1.5))
    (width, height), below = cv2.getTextSize(text, font, scale, thick)
    x, y, _, _ = (int(v) for v in rle.box(segment.rle, segments.height, segments.width))
    x = max(0, min(x, out.shape[1] - width))
    y = max(height + below, y)
    cv2.rectangle(out, (x, y - height - below), (x + width, y), (0, 0, 0), -1)
    ink = colour_of(segment.label)
    cv2.putText(out, text, (x, y - below // 2), font, scale, ink if max(ink) >= _DARK else _WHITE, thick, cv2.LINE_AA)
