"""Copies detail into a hole: one displacement for every cell of four by four pixels, found quickly.

Method: a shift-map (Pritch, Kav-Venaki and Peleg, Shift-Map Image Editing, 2009) over a fixed list of displacements,
dense for near ones and sparse for far ones. What a displacement costs at a cell is how much it differs from what is
known or sketched there, averaged over the cells around it (cost-volume filtering: Rhemann et al., Fast Cost-Volume
Filtering for Visual Correspondence, 2011); instead of a graph cut, neighbours come to agree in a few rounds.
patchmatch.py searches everywhere, for single pixels, and takes twenty times as long.
"""

from __future__ import annotations

from functools import cache
from typing import Final, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.records import Floats, Mask, Rgb

CELL: Final = 4
"""Side of a cell in pixels."""
RINGS: Final = ((6, 1), (12, 2), (24, 4))
"""(reach, step) in cells: up to this far, displacements are this far apart."""
RADIUS: Final = 4
"""Radius in cells of the square over which costs are averaged."""
RING: Final = 3
"""Width in cells of the ring around the hole that is compared."""
KNOWN_WEIGHT: Final = 2
"""Weight of a known cell in a cost; one that is only sketched weighs 1."""
PRIOR_COST: Final = 300
"""Added to a sum of costs, so that of two equally good displacements the one with more cells compared wins."""
ISOLATION: Final = 1.0
"""Factor by which a displacement costs more when it leads to nothing known for any other cell around: displacements
that just reach the known pixels would repeat their rim over and over."""
ROUNDS: Final = 6
"""Rounds in which neighbours come to agree."""
AGREEMENT: Final = np.float32(0.95)
"""Share by which a displacement is cheaper for a cell when all cells around have it."""
NEIGHBOURS: Final = 5
"""Side in cells of the square around a cell that it agrees with."""
_AT_ONCE: Final = 64
"""Displacements that are compared at one time: bounds the memory."""

Cells: TypeAlias = NDArray[np.int64]
"""(h, w, 2): for each cell the pixels down and to the right from which its copy is taken."""


def copied(sketch: Rgb, hole: Mask) -> Rgb:
    """Copy a known pixel to every pixel of the hole for which one is at a displacement of the list; others stay.

    sketch: HWC uint8, sides multiples of CELL; outside the hole the picture itself.
    """
    if not hole.any() or hole.all():
        return sketch
    shifts, found = displacements(sketch, hole)
    painted = sketch.copy()
    pixel = np.argwhere(hole)
    total, weights = np.zeros((len(pixel), 3), np.float32), np.zeros((len(pixel), 1), np.float32)
    centre = (pixel + 0.5) / CELL - 0.5
    first = np.floor(centre).astype(np.int64)
    for corner in np.ndindex(2, 2):  # of the four cells whose middles are around a pixel
        cell = first + np.array(corner)
        share = (1 - np.abs(cell - centre)).prod(axis=1)
        y, x = np.clip(cell, 0, np.array(found.shape) - 1).T
        source = pixel + shifts[y, x]
        inside = np.clip(source, 0, np.array(hole.shape) - 1)
        there = found[y, x] & (source == inside).all(axis=1) & ~hole[tuple(inside.T)]
        weight = (share * there)[:, None].astype(np.float32)
        total += sketch[tuple(inside.T)] * weight
        weights += weight
    sure = weights[:, 0] > 0
    painted[tuple(pixel[sure].T)] = np.rint(total[sure] / weights[sure]).astype(np.uint8)
    return painted


def displacements(sketch: Rgb, hole: Mask) -> tuple[Cells, Mask]:
    """-> the displacements of all cells, 0 outside the hole; (h, w) bool, the cells of the hole that have one."""
    height, width = (side // CELL for side in hole.shape)
    small: Rgb = np.asarray(cv2.resize(sketch, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
    missing: Mask = np.asarray(hole.reshape(height, CELL, width, CELL).any(axis=(1, 3)))
    reach, margin = RINGS[-1][0], RING + RADIUS
    rows, columns = (_span(np.flatnonzero(missing.any(axis=axis)), missing.shape[1 - axis], margin) for axis in (1, 0))
    here, wanted = small[rows, columns], missing[rows, columns]
    near = cv2.dilate(wanted.view(np.uint8), np.ones((2 * RING + 1, 2 * RING + 1), np.uint8))
    counts = np.where(wanted, 1, KNOWN_WEIGHT * near).astype(np.float32)[..., None]
    around = np.s_[rows.start : rows.stop + 2 * reach, columns.start : columns.stop + 2 * reach]
    known = np.pad(~missing, reach)[around]
    colours = np.pad(small, ((reach, reach), (reach, reach), (0, 0)))[around]
    inside = _summed(wanted.astype(np.float32)[..., None]).reshape(wanted.shape)[wanted][:, None] + 1
    steps = _steps()
    costs = np.empty((int(wanted.sum()), len(steps)), np.float32)
    for begin in range(0, len(steps), _AT_ONCE):
        some = steps[begin : begin + _AT_ONCE]
        windows = [np.s_[y : y + wanted.shape[0], x : x + wanted.shape[1]] for y, x in some + reach]
        there = np.stack([known[window] for window in windows], axis=-1)
        difference = np.stack([_squares(here, colours[window]) for window in windows], axis=-1)
        counted = counts * there
        cost = (_summed(difference * counted)[wanted] + PRIOR_COST) / (_summed(counted)[wanted] + 1)
        cost *= 1 + ISOLATION * _summed((wanted[..., None] & ~there).astype(np.float32))[wanted] / inside
        costs[:, begin : begin + _AT_ONCE] = np.where(there[wanted], cost, np.inf)
    reached = np.isfinite(costs.min(axis=1))
    shifts = np.zeros((height, width, 2), np.int64)
    found = np.zeros((height, width), np.bool_)
    found[rows, columns][wanted] = reached
    shifts[rows, columns][wanted] = np.where(reached[:, None], steps[_agreed(costs, wanted)] * CELL, 0)
    return shifts, found


def _agreed(costs: Floats, wanted: Mask) -> NDArray[np.int64]:
    """Choose displacements, those of a cell's neighbours being cheaper for it: that makes fewer seams, where they cost
    least. costs: (n, displacements) of the n wanted cells. -> (n,), the index of each cell's displacement."""
    choice = np.asarray(costs.argmin(axis=1), np.int64)
    for _ in range(ROUNDS):
        used = np.unique(choice)
        laid = np.full(wanted.shape, -1)
        laid[wanted] = choice
        shares = [
            cv2.blur((laid == one).astype(np.float32), (NEIGHBOURS, NEIGHBOURS), borderType=cv2.BORDER_CONSTANT)[wanted]
            for one in used
        ]
        agreed = np.asarray(used[(costs[:, used] * (1 - AGREEMENT * np.stack(shares, axis=1))).argmin(axis=1)])
        if (agreed == choice).all():
            break
        choice = agreed
    return choice


def _squares(first: Rgb, second: Rgb) -> Floats:
    """(h, w): squared differences of colours, summed. Whole numbers, so that the order of a sum does not matter."""
    difference = cv2.absdiff(first, second).astype(np.float32)
    return np.asarray(np.einsum("yxc,yxc->yx", difference, difference), np.float32)


def _summed(values: Floats) -> Floats:
    """(h, w, n): sums over the square of RADIUS around each cell."""
    side = (2 * RADIUS + 1, 2 * RADIUS + 1)
    return np.asarray(cv2.boxFilter(values, -1, side, normalize=False, borderType=cv2.BORDER_CONSTANT), np.float32)


@cache
def _steps() -> Cells:
    """The displacements, (n, 2) in cells, the nearest first; never (0, 0)."""
    found: list[tuple[int, int]] = []
    within = 0
    for reach, step in RINGS:
        positions = range(-reach, reach + 1, step)
        found += [(y, x) for y in positions for x in positions if max(abs(y), abs(x)) > within]
        within = reach
    return np.array(sorted(found, key=lambda each: (each[0] ** 2 + each[1] ** 2, each)), np.int64)


def _span(at: NDArray[np.int64], size: int, margin: int) -> slice:
    """From the first to the last position, ascending, with a margin, within 0..size."""
    return slice(max(0, int(at[0]) - margin), min(size, int(at[-1]) + 1 + margin))
