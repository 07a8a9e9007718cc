"""Cuts an image into crops around the parts of its region, with the region blanked: what a fill sees."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.contracts import Fill
from pipeline.errors import ImageError
from pipeline.image import rle
from pipeline.records import Crop, Mask, Patch, Pixels, Region, Rgb, Segment, seed_of

MIN_MARGIN = 16
"""Pixels of context around the smallest part: enough for any fill to see what surrounds it."""
TILE = 128
"""Side in pixels. Parts no larger than half of it whose corners are in the same tile of the image share a crop: a text
of a thousand letters is some dozen crops."""
WASTE = 1.5
"""Crops that overlap are joined when their common box is at most this many times as large as they are together."""
GREY = 128
"""Level that a crop is blanked with, and filled with, when nothing of it is known."""

BAND = 1 << 21
"""Pixels that are indexed at one time."""

T = TypeVar("T", bound=np.generic)
Boxes: TypeAlias = NDArray[np.int64]
"""(n, 4): left, top, right, bottom in pixels, the last two exclusive."""


@dataclass(frozen=True)
class Span:
    """Where a connected part lies in a crop: in a box from top, left. mask: HW bool, of the box, True = this part."""

    top: int
    left: int
    mask: Mask

    def of(self, array: NDArray[T]) -> NDArray[T]:
        """The same box of an array of the crop's size; a view."""
        return array[self.top : self.top + self.mask.shape[0], self.left : self.left + self.mask.shape[1]]

    @property
    def side(self) -> int:
        """The longer side of the box in pixels."""
        return int(max(self.mask.shape))

    def grown(self, margin: int, height: int, width: int) -> Span:
        """The same part in a box with this many pixels around it, as far as a crop of height x width has them."""
        top, left = max(0, self.top - margin), max(0, self.left - margin)
        bottom = min(height, self.top + self.mask.shape[0] + margin)
        right = min(width, self.left + self.mask.shape[1] + margin)
        mask = np.zeros((bottom - top, right - left), np.bool_)
        mask[self.top - top :, self.left - left :][: self.mask.shape[0], : self.mask.shape[1]] = self.mask
        return Span(top=top, left=left, mask=mask)


def cut(pixels: Pixels, region: Region, fill: Fill, segments: Sequence[Segment] = ()) -> tuple[Crop, ...]:
    """Crops from top to bottom; every pixel of the region is in the mask of exactly one of them.

    A part is 8-connected and gets `fill.context` of its longer side around it, at least MIN_MARGIN pixels, where the
    image has them. Parts near each other share a crop. Unless the fill is reversible, the whole region is blanked with
    the mean of the crop's known pixels, so a fill has nothing to leak. segments: of the image, which `region.chosen`
    indexes; a crop has the labels of those whose box holds some of its mask. Raises ImageError `wrong_shape` when the
    region belongs to another image.
    """
    height, width = region.height, region.width
    if pixels.rgb.shape != (height, width, 3):
        raise ImageError("wrong_shape", f"expected an image of {width}x{height} pixels, got {pixels.rgb.shape}")
    if not fill.active or not region.area:
        return ()
    x, y, inside = _around(region, fill.context)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(inside.view(np.uint8), connectivity=8, ltype=cv2.CV_32S)
    stats = np.asarray(stats, np.int64)  # left, top, width, height, area
    boxes = np.hstack([stats[1:, :2], stats[1:, :2] + stats[1:, 2:4]])
    member, frames = _group(boxes, fill.context, *inside.shape)
    group = np.full(count, -1, np.int64)  # label 0 is outside the region
    group[1:] = member
    chosen = sorted((segments[i] for i in region.chosen), key=lambda s: -s.area) if segments else []
    crops = []
    for index, (left, top, right, bottom) in enumerate(frames.tolist()):
        rgb = pixels.rgb[y + top : y + bottom, x + left : x + right]
        known = ~inside[top:bottom, left:right]
        mask = _members(labels[top:bottom, left:right], group == index)
        here = [s.label for s in chosen if _under(mask, s, x + left, y + top)]
        crops.append(
            Crop(
                x=x + left,
                y=y + top,
                pixels=rgb.copy() if fill.reversible else _blanked(rgb, known),
                mask=mask,
                known=known,
                seed=seed_of(region.image_id, index),
                labels=tuple(dict.fromkeys(here)),
            )
        )
    return tuple(crops)


def _under(mask: Mask, segment: Segment, x: int, y: int) -> bool:
    """Whether a mask, whose left upper pixel is at x, y of the image, has a pixel in the box of a segment."""
    left, top, width, height = (round(v) for v in segment.box)
    rows, columns = (slice(max(0, low), max(0, low + size)) for low, size in ((top - y, height), (left - x, width)))
    return bool(mask[rows, columns].any())


def parts(mask: Mask) -> Iterator[Span]:
    """Yield the 8-connected parts of a crop's mask, from top to bottom."""
    x, y, across, down = cv2.boundingRect(mask.view(np.uint8))
    inside = np.ascontiguousarray(mask[y : y + down, x : x + across]).view(np.uint8)
    if not inside.size:
        return
    count, labels, stats, _ = cv2.connectedComponentsWithStats(inside, connectivity=8, ltype=cv2.CV_32S)
    for i in range(1, count):
        left, top, width, height = (int(v) for v in stats[i, :4])
        yield Span(top=y + top, left=x + left, mask=labels[top : top + height, left : left + width] == i)


@dataclass(frozen=True)
class PerCrop:
    """A loaded fill that paints crop after crop. paint: crop -> RGB of its size; only pixels under the mask count."""

    paint: Callable[[Crop], Rgb]

    def __call__(self, crops: Sequence[Crop]) -> list[Patch]:
        return [Patch(x=c.x, y=c.y, pixels=self.paint(c), mask=c.mask) for c in crops]


def mean(pixels: Rgb, where: Mask) -> NDArray[np.uint8]:
    """(3,) uint8: the exact mean colour, rounded; mid-grey where nothing is True."""
    count = int(where.sum())
    if not count:
        return np.full(3, GREY, np.uint8)
    total = np.zeros(3, np.int64)
    for band in _bands(where):
        total += pixels[band][where[band]].sum(axis=0, dtype=np.int64)
    return np.asarray((2 * total + count) // (2 * count), np.uint8)


def _around(region: Region, context: float) -> tuple[int, int, Mask]:
    """-> left, top, mask of the box that holds all crops: a face in 24 megapixels costs no more than the face."""
    left, top, width, height = (int(v) for v in rle.box(region.rle, region.height, region.width))
    margin = _margin(max(width, height), context)
    x, y = max(0, left - margin), max(0, top - margin)
    right, bottom = min(region.width, left + width + margin), min(region.height, top + height + margin)
    size = {"crop_height": bottom - y, "crop_width": right - x}
    return x, y, rle.decode_at(region.rle, region.height, region.width, x=x, y=y, **size)


def _margin(side: int, context: float) -> int:
    """Pixels of context around a part whose longer side this is."""
    return max(MIN_MARGIN, math.ceil(side * context))


def _blanked(rgb: Rgb, known: Mask) -> Rgb:
    blank = rgb.copy()
    np.copyto(blank, mean(rgb, known), where=~known[..., None])
    return blank


def _members(labels: cv2.typing.MatLike, members: NDArray[np.bool_]) -> Mask:
    """Mark the pixels whose label belongs to a group. members: for each label, whether it does."""
    inside = np.empty(labels.shape, np.bool_)
    for band in _bands(inside):
        inside[band] = members[labels[band]]
    return inside


def _bands(mask: Mask) -> Iterator[slice]:
    """Yield rows of some megapixels: numpy indexes with 8 to 16 bytes a pixel, too much for a hundred megapixels."""
    rows = max(1, BAND // max(1, mask.shape[1]))
    for start in range(0, mask.shape[0], rows):
        yield slice(start, start + rows)


def _group(boxes: Boxes, context: float, height: int, width: int) -> tuple[NDArray[np.int64], Boxes]:
    """-> the number of each part's crop, and the crops' boxes from top to bottom."""
    small = (boxes[:, 2:] - boxes[:, :2]).max(axis=1) <= TILE // 2
    corner = boxes[:, :2] // TILE
    tile = np.where(small, corner[:, 1] * (width // TILE + 1) + corner[:, 0], -1 - np.arange(len(boxes)))
    _, member = np.unique(tile, return_inverse=True)
    boxes = _hulls(boxes, member)
    margin = np.array([_margin(side, context) for side in (boxes[:, 2:] - boxes[:, :2]).max(axis=1).tolist()])
    frames = boxes + margin[:, None] * np.array([-1, -1, 1, 1])
    frames = np.clip(frames, 0, [width, height, width, height])
    joined = -1
    while joined != len(frames):  # a crop that has grown may now join an earlier one
        joined = len(frames)
        order = np.lexsort((frames[:, 0], frames[:, 1]))
        group = _joined(frames[order])
        new = np.empty_like(group)
        new[order] = group
        member, frames = new[member], _hulls(frames, new)
    return member, frames


def _joined(frames: Boxes) -> NDArray[np.int64]:
    """Run one pass: each box joins the group with which it wastes least, or starts one. -> the group of each."""
    groups = np.empty_like(frames)
    member, count = np.empty(len(frames), np.int64), 0
    for i, frame in enumerate(frames):
        others = groups[:count]
        low, high = np.minimum(others[:, :2], frame[:2]), np.maximum(others[:, 2:], frame[2:])
        meet = np.all((others[:, :2] < frame[2:]) & (others[:, 2:] > frame[:2]), axis=1)
        waste = np.where(meet, np.prod(high - low, axis=1) / (_areas(others) + _areas(frame[None])), math.inf)
        best = int(waste.argmin()) if count else -1
        if best < 0 or waste[best] > WASTE:
            best, count = count, count + 1
            groups[best] = frame
        else:
            groups[best] = [*low[best], *high[best]]
        member[i] = best
    return member


def _hulls(boxes: Boxes, member: NDArray[np.int64]) -> Boxes:
    """The common box of each group."""
    hulls = np.empty((int(member.max()) + 1, 4), np.int64)
    hulls[:, :2], hulls[:, 2:] = np.iinfo(np.int64).max, np.iinfo(np.int64).min
    np.minimum.at(hulls[:, :2], member, boxes[:, :2])
    np.maximum.at(hulls[:, 2:], member, boxes[:, 2:])
    return hulls


def _areas(boxes: Boxes) -> NDArray[np.int64]:
    return np.asarray(np.prod(boxes[:, 2:] - boxes[:, :2], axis=1), np.int64)
