"""Turns masks into polygons, and says how well these still cover them.

A contour is traced a quarter of a pixel inside the mask's edge, around holes a quarter of a pixel outside of the hole:
at tolerance 0 every reader then gets the exact mask back, whether it fills what contains a pixel's centre, as most do,
or cuts coordinates to whole pixels and fills these too, as cv2.fillPoly does. No coordinates serve readers that round
them as well: those need a right edge below the pixel's centre, pycocotools one at or above it.

No common format has holes. A hole is joined to its outline by a bridge, a line there and the same line back, which
covers no pixel; so every polygon here is one ring. Parts stay rings of their own, unless `joined` makes one of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco

from pipeline.image import rle

_MOST: Final = 4096
"""Points of a ring that are tried as an end of a bridge."""
_PAIRS: Final = 2**20
"""Distances that are in memory at one time."""

_STEPS: Final = 5_000_000
"""Rings times points up to which the nearest ring is looked for at each step: about a second."""

Ring: TypeAlias = NDArray[np.float64]
"""(n, 2) x, y in pixels, n >= 3; (0, 0) is the outer corner of the first pixel. The last point joins the first one."""


def rings_of(code: bytes, height: int, width: int, tolerance: float) -> list[Ring]:
    """The rings of a mask: one a connected part (pixels that touch at a corner are connected), the largest first, its
    holes joined by bridges. None for an empty mask.

    tolerance: how far in pixels the outline may run from the traced one.
    """
    x, y, w, h = (int(v) for v in rle.box(code, height, width))
    if not w:
        return []
    crop = rle.decode_at(code, height, width, x=x, y=y, crop_height=h, crop_width=w)
    twice = crop.view(np.uint8).repeat(2, axis=0).repeat(2, axis=1)
    contours, tree = cv2.findContours(twice, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    rings = []
    for number, contour in enumerate(contours):
        if tree[0][number][3] < 0:  # an outline
            holes, hole = [], tree[0][number][2]
            while hole >= 0:
                holes.append(_simpler(contours[hole], tolerance))
                hole = tree[0][hole][0]
            rings.append(_bridged(_simpler(contour, tolerance), holes))
    shift = np.array([x, y])
    return sorted(((ring + 0.5) / 2 + shift for ring in rings), key=_area, reverse=True)


def joined(rings: Sequence[Ring]) -> Ring:
    """One ring of several, joined by bridges as holes are: for formats that have one polygon an object."""
    return _bridged(rings[0], rings[1:])


def covered(rings: Sequence[Ring], height: int, width: int) -> bytes:
    """The mask that pycocotools makes of the rings, as compressed counts."""
    codes = coco.frPyObjects([ring.ravel().tolist() for ring in rings], height, width)
    return bytes(coco.merge(codes)["counts"])


def overlap(one: bytes, other: bytes, height: int, width: int) -> float:
    """IoU of two masks, 0..1; 1 for two empty ones."""
    both = rle.area(_merged(one, other, height, width, intersect=True), height, width)
    either = rle.area(_merged(one, other, height, width, intersect=False), height, width)
    return both / either if either else 1.0


def _merged(one: bytes, other: bytes, height: int, width: int, *, intersect: bool) -> bytes:
    pair = [{"size": [height, width], "counts": code} for code in (one, other)]
    return bytes(coco.merge(pair, intersect=intersect)["counts"])


def _simpler(contour: NDArray[Any], tolerance: float) -> Ring:
    """The contour, in half pixels, with fewer points where the tolerance allows it; at least three."""
    simple = cv2.approxPolyDP(contour, 2 * tolerance, closed=True) if tolerance else contour
    ring = (simple if len(simple) > 2 else contour).reshape(-1, 2).astype(np.float64)
    return ring if len(ring) > 2 else _thick(ring)


def _thick(ring: Ring) -> Ring:
    """A line, which has no area, there and back."""
    return np.concatenate([ring, ring[::-1]]) if len(ring) == 2 else ring.repeat(3, axis=0)


def _bridged(ring: Ring, others: Sequence[Ring]) -> Ring:
    """The ring with each other one joined where they are nearest to each other, the nearest ones first; of very many,
    each joined with the ring itself."""
    if not others:
        return ring
    rings = [ring, *others]
    points = np.concatenate(others)
    owner = np.repeat(np.arange(1, len(rings)), [len(other) for other in others])
    place = np.concatenate([np.arange(len(other)) for other in others])
    if len(others) * len(points) > _STEPS:
        return np.array(_walk(rings, _star(rings, points, owner, place)))
    apart = np.full(len(points), np.inf)  # of each point that waits, from what is joined so far
    near = np.zeros((len(points), 2), np.int64)  # the point there: its ring, its position in it
    bridges: dict[tuple[int, int], list[tuple[int, int]]] = {}
    newest = 0
    while len(points):
        distance, at = _nearest(points, rings[newest])
        closer = distance < apart
        apart[closer] = distance[closer]
        near[closer] = np.column_stack([np.full(len(points), newest), at])[closer]
        chosen = int(apart.argmin())
        newest = int(owner[chosen])
        bridges.setdefault((int(near[chosen, 0]), int(near[chosen, 1])), []).append((newest, int(place[chosen])))
        left = owner != newest
        points, owner, place, apart, near = points[left], owner[left], place[left], apart[left], near[left]
    return np.array(_walk(rings, bridges))


def _star(
    rings: Sequence[Ring], points: Ring, owner: NDArray[np.int64], place: NDArray[np.int64]
) -> dict[tuple[int, int], list[tuple[int, int]]]:
    """Bridges from the first ring to each other one."""
    distance, at = _nearest(points, rings[0])
    bridges: dict[tuple[int, int], list[tuple[int, int]]] = {}
    order = np.lexsort((distance, owner))
    for chosen in order[np.flatnonzero(np.diff(owner[order], prepend=0))]:
        bridges.setdefault((0, int(at[chosen])), []).append((int(owner[chosen]), int(place[chosen])))
    return bridges


def _walk(rings: Sequence[Ring], bridges: Mapping[tuple[int, int], Sequence[tuple[int, int]]]) -> list[Ring]:
    """The points of all rings in one tour: around the first one, and at each bridge over it, around, and back."""
    tour: list[Ring] = []
    waiting: list[tuple[int, int]] = [(0, at) for at in reversed(range(len(rings[0])))]
    seen: set[tuple[int, int]] = set()
    while waiting:
        here = waiting.pop()
        tour.append(rings[here[0]][here[1]])
        if here in seen:
            continue
        seen.add(here)
        for ring, entry in bridges.get(here, ()):
            around = [(ring, (entry + step) % len(rings[ring])) for step in range(len(rings[ring]) + 1)]
            waiting += [here, *reversed(around)]
    return tour


def _nearest(points: Ring, ring: Ring) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Of each point, the squared distance from the nearest point of the ring, and the position of that one. Of a very
    long ring only some points, evenly spread: a longer bridge covers no pixel either."""
    step = -(-len(ring) // _MOST)
    some = ring[::step]
    distance, at = np.full(len(points), np.inf), np.zeros(len(points), np.int64)
    size = max(1, _PAIRS // len(some))
    for start in range(0, len(points), size):
        part = points[start : start + size]
        squared = (part[:, :1] - some[:, 0]) ** 2 + (part[:, 1:] - some[:, 1]) ** 2
        best = squared.argmin(axis=1)
        at[start : start + size] = best * step
        distance[start : start + size] = squared[np.arange(len(part)), best]
    return distance, at


def _area(ring: Ring) -> float:
    return cv2.contourArea(ring.astype(np.float32))
