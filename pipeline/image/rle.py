"""Store and combine masks as COCO's compressed run lengths.

Runs go down the columns, as in pycocotools, whose C code does the work. The counts do not hold the size of a mask, so
every function takes height and width. Operations on a part of an image touch only that part: a small mask in a
100-megapixel image costs as much as in a small one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco

from pipeline.errors import ImageError
from pipeline.records import Box, Mask

Runs: TypeAlias = NDArray[np.int64]
"""(n,) lengths in pixels: outside, inside, outside, ..., down the columns."""


def encode(mask: Mask) -> bytes:
    """Encode HW bool to compressed counts."""
    return bytes(coco.encode(np.asfortranarray(mask, dtype=np.uint8))["counts"])


def decode(rle: bytes, height: int, width: int) -> Mask:
    """Decode compressed counts to HW bool. Raises ImageError `bad_mask` when they do not fit this size."""
    return decode_at(rle, height, width, x=0, y=0, crop_height=height, crop_width=width)


def encode_at(crop: Mask, height: int, width: int, *, x: int, y: int) -> bytes:
    """Encode the mask of a full image that is `crop` (HW bool) with its upper left pixel at x, y, and empty elsewhere.

    Parts of the crop outside the image are cut off.
    """
    crop, x, y = _cut(crop, height, width, x, y)
    if not crop.size:
        return empty(height, width)
    if crop.shape == (height, width):
        return encode(crop)  # in C: for noise six times as fast as the code below
    # A pair (start, stop) for each run of each column: positions in the full image, read down its columns.
    columns = np.zeros((crop.shape[1], crop.shape[0] + 2), np.int8)
    columns[:, 1:-1] = crop.T
    column, row = np.nonzero(np.diff(columns))
    position = (column + x) * height + row + y
    # A run that reaches the lower edge and goes on at the top of the next column has stop == next start: drop both.
    joint = np.flatnonzero(position[1:-1:2] == position[2::2])
    position = np.delete(position, np.concatenate([joint * 2 + 1, joint * 2 + 2]))
    runs = np.diff(position, prepend=0, append=height * width)
    return _from_runs(runs if runs[-1] else runs[:-1])


def encode_map(ids: NDArray[np.integer[Any]]) -> Iterator[tuple[int, bytes, int, Box]]:
    """Yield (number, counts, area, box) for each number in an HW map, ascending. Reads the map once, for any number of
    numbers."""
    height = len(ids)
    down = np.ascontiguousarray(ids.T).ravel()
    starts = np.concatenate([[0], np.flatnonzero(down[1:] != down[:-1]) + 1])
    stops = np.append(starts[1:], down.size)
    order = np.argsort(down[starts], kind="stable")
    numbers, first = np.unique(down[starts][order], return_index=True)
    for number, part in zip(numbers.tolist(), np.split(order, first[1:]), strict=True):
        start, stop = starts[part], stops[part]
        runs = np.diff(np.column_stack([start, stop]).ravel(), prepend=0, append=down.size)
        code = _from_runs(runs if runs[-1] else runs[:-1])
        over = start // height != (stop - 1) // height  # goes on in the next column, so touches both edges
        left, right = start[0] // height, (stop[-1] - 1) // height
        top, bottom = np.where(over, 0, start % height).min(), np.where(over, height - 1, (stop - 1) % height).max()
        box = (float(left), float(top), float(right - left + 1), float(bottom - top + 1))
        yield number, code, int((stop - start).sum()), box


def extent_at(crop: Mask, height: int, width: int, *, x: int, y: int) -> tuple[int, Box]:
    """Area and box of the mask that `encode_at` makes, from the pixels: faster than from many runs."""
    crop, x, y = _cut(crop, height, width, x, y)
    rows, columns = np.flatnonzero(crop.any(axis=1)), np.flatnonzero(crop.any(axis=0))
    if not len(rows):
        return 0, (0.0, 0.0, 0.0, 0.0)
    w, h = columns[-1] - columns[0] + 1, rows[-1] - rows[0] + 1
    return int(np.count_nonzero(crop)), (float(x + columns[0]), float(y + rows[0]), float(w), float(h))


def decode_at(rle: bytes, height: int, width: int, *, x: int, y: int, crop_height: int, crop_width: int) -> Mask:
    """Decode the part of a mask from x, y, of crop_height x crop_width pixels, to HW bool. Raises ValueError for a part
    that is not inside the image, ImageError as `decode`."""
    if not (0 <= x <= x + crop_width <= width and 0 <= y <= y + crop_height <= height):
        raise ValueError(f"the part {x},{y} {crop_width}x{crop_height} is not inside an image of {width}x{height}")
    ends = np.cumsum(_to_runs(rle, height, width))
    first, last = x * height, (x + crop_width) * height
    edges = np.clip(ends, first, last)
    lengths = np.diff(edges, prepend=first)
    inside = np.arange(len(lengths)) % 2 == 1
    columns = np.repeat(inside, lengths).reshape(crop_width, height)
    return np.ascontiguousarray(columns.T[y : y + crop_height])


def area(rle: bytes, height: int, width: int) -> int:
    """Pixels inside."""
    return int(_to_runs(rle, height, width)[1::2].sum())


def box(rle: bytes, height: int, width: int) -> Box:
    """The smallest box around the mask, XYWH; all zero for an empty mask."""
    x, y, w, h = (float(v) for v in coco.toBbox(_coco(rle, height, width)))
    return x, y, w, h


def union(rles: Sequence[bytes], height: int, width: int) -> bytes:
    """Unite masks; an empty sequence gives the empty mask."""
    if not rles:
        return empty(height, width)
    return bytes(coco.merge([_coco(rle, height, width) for rle in rles], intersect=False)["counts"])


def dilate(rle: bytes, height: int, width: int, radius_px: int) -> bytes:
    """Grow a mask to every pixel whose centre is at most `radius_px` pixels from one inside. 0 changes nothing.

    Uses the exact distance transform, whose cost, unlike that of a structuring element, does not grow with the radius.
    """
    if radius_px < 0:
        raise ValueError(f"radius_px must be at least 0, got {radius_px}")
    x, y, w, h = (int(v) for v in box(rle, height, width))
    if radius_px == 0 or w == 0:
        return rle
    left, top = max(0, x - radius_px), max(0, y - radius_px)
    right, bottom = min(width, x + w + radius_px), min(height, y + h + radius_px)
    crop = decode_at(rle, height, width, x=left, y=top, crop_height=bottom - top, crop_width=right - left)
    distance = cv2.distanceTransform((~crop).view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return encode_at(distance <= radius_px, height, width, x=left, y=top)


def empty(height: int, width: int) -> bytes:
    """The mask with nothing inside."""
    return _from_runs(np.array([height * width]))


def _cut(crop: Mask, height: int, width: int, x: int, y: int) -> tuple[Mask, int, int]:
    """The part of a crop that is inside the image, and its position."""
    left, top = max(0, -x), max(0, -y)
    return crop[top : max(top, height - y), left : max(left, width - x)], x + left, y + top


def _coco(rle: bytes, height: int, width: int) -> dict[str, Any]:
    _to_runs(rle, height, width)  # the C code reads past the end of a mask of another size
    return {"size": [height, width], "counts": rle}


def _from_runs(runs: Runs) -> bytes:
    """Encode runs as `rleToString` of pycocotools' maskApi.c does, in numpy: many times as fast as from a list."""
    number = runs.astype(np.int64)
    number[3:] -= runs[1:-2]
    length = np.searchsorted(1 << np.arange(4, 39, 5), np.where(number < 0, ~number, number), side="right") + 1
    first = np.cumsum(length) - length
    char = np.zeros(int(length.sum()), np.int64)
    for place in range(int(length.max())):
        some = length > place
        char[first[some] + place] = (number[some] >> (5 * place)) & 31 | np.where(length[some] - 1 > place, 32, 0)
    return (char + 48).astype(np.uint8).tobytes()


def _to_runs(rle: bytes, height: int, width: int) -> Runs:
    """Invert `rleToString` of pycocotools' maskApi.c: characters from 48 on hold five bits each and a sixth for "more
    follows"; the fifth bit of the last one is the sign; from the fourth run on, a number is the difference from the run
    before the last. Raises ImageError `bad_mask`."""
    char = np.frombuffer(rle, np.uint8).astype(np.int64) - 48
    last = np.flatnonzero((char & 32) == 0)
    length = np.diff(last, prepend=-1)  # characters a number: 7 hold 35 bits
    if not len(last) or last[-1] != len(char) - 1 or char.min() < 0 or char.max() > 63 or length.max() > 7:
        raise ImageError("bad_mask", f"expected the compressed counts of a {width}x{height} mask, got {rle[:20]!r}")
    first = last - length + 1
    place = np.arange(len(char)) - np.repeat(first, length)
    runs = np.add.reduceat((char & 31) << (5 * place), first)
    runs -= np.where(char[last] & 16, 1 << (5 * length), 0)
    runs[1::2] = np.cumsum(runs[1::2])
    runs[2::2] = np.cumsum(runs[2::2])
    if runs.min() < 0 or runs.sum() != height * width:
        raise ImageError("bad_mask", f"expected a mask of {width}x{height} pixels, got one of {runs.sum()} pixels")
    return runs
