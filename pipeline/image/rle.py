"""How a mask is stored and combined: COCO's compressed run lengths, and the algebra on them.

Runs go down the columns, as in pycocotools, whose C code does the work. A mask of height h and width w is only
meaningful together with both, so every function takes them. What concerns a part of an image touches only that part:
a small mask in a 100-megapixel image costs as much as a small mask.
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
    """HW bool -> compressed counts."""
    return bytes(coco.encode(np.asfortranarray(mask, dtype=np.uint8))["counts"])


def decode(rle: bytes, height: int, width: int) -> Mask:
    """Compressed counts -> HW bool. Raises ImageError when they are not those of a mask of this size."""
    return decode_at(rle, height, width, x=0, y=0, crop_height=height, crop_width=width)


def encode_at(crop: Mask, height: int, width: int, *, x: int, y: int) -> bytes:
    """The mask of a full image that is `crop` (HW bool) with its left upper pixel at x, y, and empty elsewhere.

    What lies outside the image is cut off.
    """
    crop, x, y = _cut(crop, height, width, x, y)
    if not crop.size:
        return empty(height, width)
    if crop.shape == (height, width):
        return encode(crop)  # in C: of noise, six times as fast as what follows
    # One pair (start, stop) a run and column, as positions in the full image read down its columns.
    columns = np.zeros((crop.shape[1], crop.shape[0] + 2), np.int8)
    columns[:, 1:-1] = crop.T
    column, row = np.nonzero(np.diff(columns))
    position = (column + x) * height + row + y
    # A run that reaches the lower edge goes on at the top of the next column: stop == next start; drop both.
    joint = np.flatnonzero(position[1:-1:2] == position[2::2])
    position = np.delete(position, np.concatenate([joint * 2 + 1, joint * 2 + 2]))
    runs = np.diff(position, prepend=0, append=height * width)
    return _from_runs(runs if runs[-1] else runs[:-1])


def encode_map(ids: NDArray[np.integer[Any]]) -> Iterator[tuple[int, bytes, int, Box]]:
    """Of a map of numbers (HW): each number that is there, rising, with the counts, area and box of its pixels. Looks
    at the map once, however many numbers there are."""
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
        over = start // height != (stop - 1) // height  # goes on in the next column, so it touches both edges
        left, right = start[0] // height, (stop[-1] - 1) // height
        top, bottom = np.where(over, 0, start % height).min(), np.where(over, height - 1, (stop - 1) % height).max()
        box = (float(left), float(top), float(right - left + 1), float(bottom - top + 1))
        yield number, code, int((stop - start).sum()), box


def extent_at(crop: Mask, height: int, width: int, *, x: int, y: int) -> tuple[int, Box]:
    """Area and box of the mask that `encode_at` makes: from the pixels, which is faster than from many runs."""
    crop, x, y = _cut(crop, height, width, x, y)
    rows, columns = np.flatnonzero(crop.any(axis=1)), np.flatnonzero(crop.any(axis=0))
    if not len(rows):
        return 0, (0.0, 0.0, 0.0, 0.0)
    w, h = columns[-1] - columns[0] + 1, rows[-1] - rows[0] + 1
    return int(np.count_nonzero(crop)), (float(x + columns[0]), float(y + rows[0]), float(w), float(h))


def decode_at(rle: bytes, height: int, width: int, *, x: int, y: int, crop_height: int, crop_width: int) -> Mask:
    """The part of a mask from x, y, of crop_height x crop_width pixels, HW bool. It has to lie inside the image."""
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
    """Inside any of them; of none, the empty mask."""
    if not rles:
        return empty(height, width)
    return bytes(coco.merge([_coco(rle, height, width) for rle in rles], intersect=False)["counts"])


def dilate(rle: bytes, height: int, width: int, radius_px: int) -> bytes:
    """Grown by a disc: every pixel whose centre is at most `radius_px` pixels from one inside. 0 changes nothing.

    By the exact distance transform, whose cost does not depend on the radius (a 101 x 101 structuring element would).
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
    """What of the crop lies inside the image, and where."""
    left, top = max(0, -x), max(0, -y)
    return crop[top : max(top, height - y), left : max(left, width - x)], x + left, y + top


def _coco(rle: bytes, height: int, width: int) -> dict[str, Any]:
    _to_runs(rle, height, width)  # the C code reads past the end of a mask of another size
    return {"size": [height, width], "counts": rle}


def _from_runs(runs: Runs) -> bytes:
    """`rleToString` of pycocotools' maskApi.c, which `_to_runs` undoes; many times as fast as from a list."""
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
    """The inverse of `rleToString` in pycocotools' maskApi.c: five bits a character from 48 on, the sixth says
    "more follows", the last one's fifth is the sign; from the fourth run on, what differs from the last but one."""
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
