"""From how far away is each missing pixel best copied? One displacement for every cell of four by four pixels, quickly.

Method: a shift-map (Pritch, Kav-Venaki and Peleg, Shift-Map Image Editing, 2009) over a fixed list of displacements,
dense for near ones and sparse for far ones. What a displacement costs at a cell is how much it differs from what is
known or sketched there, averaged over the cells around it (cost-volume filtering: Rhemann et al., Fast Cost-Volume
Filtering for Visual Correspondence, 2011); instead of a graph cut, neighbours come to agree in a few rounds.
patchmatch.py looks everywhere, for single pixels, and takes twenty times as long.
"""

from __future__ import annotations

from functools import cache
from typing import Final, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.records import Floats, Mask, Rgb

CELL: Final = 4
"""Pixels a side."""
RINGS: Final = ((6, 1), (12, 2), (24, 4))
"""(reach, step) in cells: up to this far, displacements are this far apart."""
RADIUS: Final = 4
"""Of the square over which costs are averaged, in cells."""
RING: Final = 3
"""Cells around the hole that are compared."""
SURE: Final = 2
"""What a known cell counts; one that is only sketched counts 1."""
NEAR: Final = 300
"""Added to a sum of costs, so that of two displacements that are as good the one with more to show for it wins."""
ALONE: Final = 1.0
"""How many times more a displacement costs when it leads to nothing known for any other cell around: those that only
just reach what is known would repeat its rim over and over."""
ROUNDS: Final = 6
"""In which neighbours come to agree."""
AGREE: Final = np.float32(0.95)
"""By how much a displacement is cheaper for a cell when all around it have it."""
AROUND: Final = 5
"""Cells a side, of those around a cell."""
_TOGETHER: Final = 64
"""Displacements that are compared at one time."""

Cells: TypeAlias = NDArray[np.int64]
"""(h, w, 2): for each cell how many pixels down and to the right its copy is taken from."""


def copied(sketch: Rgb, hole: Mask) -> Rgb:
    """The sketch, HWC with sides that are multiples of CELL, with every pixel of the hole taken from a known one where
    there is any at a displacement of the list; elsewhere it stays. Known pixels of the sketch are the picture's own."""
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
    """-> those of all cells, 0 outside the hole; which cells of the hole have one."""
    height, width = (side // CELL for side in hole.shape)
    small: Rgb = np.asarray(cv2.resize(sketch, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
    missing: Mask = np.asarray(hole.reshape(height, CELL, width, CELL).any(axis=(1, 3)))
    reach, margin = RINGS[-1][0], RING + RADIUS
    rows, columns = (_span(np.flatnonzero(missing.any(axis=axis)), missing.shape[1 - axis], margin) for axis in (1, 0))
    here, wanted = small[rows, columns], missing[rows, columns]
    near = cv2.dilate(wanted.view(np.uint8), np.ones((2 * RING + 1, 2 * RING + 1), np.uint8))
    counts = np.where(wanted, 1, SURE * near).astype(np.float32)[..., None]
    around = np.s_[rows.start : rows.stop + 2 * reach, columns.start : columns.stop + 2 * reach]
    known = np.pad(~missing, reach)[around]
    colours = np.pad(small, ((reach, reach), (reach, reach), (0, 0)))[around]
    inside = _summed(wanted.astype(np.float32)[..., None]).reshape(wanted.shape)[wanted][:, None] + 1
    steps = _steps()
    costs = np.empty((int(wanted.sum()), len(steps)), np.float32)
    for begin in range(0, len(steps), _TOGETHER):
        some = steps[begin : begin + _TOGETHER]
        windows = [np.s_[y : y + wanted.shape[0], x : x + wanted.shape[1]] for y, x in some + reach]
        there = np.stack([known[window] for window in windows], axis=-1)
        difference = np.stack([_squares(here, colours[window]) for window in windows], axis=-1)
        counted = counts * there
        cost = (_summed(difference * counted)[wanted] + NEAR) / (_summed(counted)[wanted] + 1)
        cost *= 1 + ALONE * _summed((wanted[..., None] & ~there).astype(np.float32))[wanted] / inside
        costs[:, begin : begin + _TOGETHER] = np.where(there[wanted], cost, np.inf)
    reached = np.isfinite(costs.min(axis=1))
    shifts = np.zeros((height, width, 2), np.int64)
    found = np.zeros((height, width), np.bool_)
    found[rows, columns][wanted] = reached
    shifts[rows, columns][wanted] = np.where(reached[:, None], steps[_agreed(costs, wanted)] * CELL, 0)
    return shifts, found


def _agreed(costs: Floats, wanted: Mask) -> NDArray[np.int64]:
    """costs: (n, displacements) of the n wanted cells. -> (n,), which displacement each has: the cheapest, when what
    its neighbours have is cheaper for it. Fewer seams, and those that are left lie where they cost least."""
    choice = np.asarray(costs.argmin(axis=1), np.int64)
    for _ in range(ROUNDS):
        used = np.unique(choice)
        laid = np.full(wanted.shape, -1)
        laid[wanted] = choice
        shares = [
            cv2.blur((laid == one).astype(np.float32), (AROUND, AROUND), borderType=cv2.BORDER_CONSTANT)[wanted]
            for one in used
        ]
        agreed = np.asarray(used[(costs[:, used] * (1 - AGREE * np.stack(shares, axis=1))).argmin(axis=1)])
        if (agreed == choice).all():
            break
        choice = agreed
    return choice


def _squares(first: Rgb, second: Rgb) -> Floats:
    """Sums of squared differences of colours: whole numbers, so that no order of a sum matters."""
    difference = cv2.absdiff(first, second).astype(np.float32)
    return np.asarray(np.einsum("yxc,yxc->yx", difference, difference), np.float32)


def _summed(values: Floats) -> Floats:
    """(h, w, n): over the square around each cell."""
    side = (2 * RADIUS + 1, 2 * RADIUS + 1)
    return np.asarray(cv2.boxFilter(values, -1, side, normalize=False, borderType=cv2.BORDER_CONSTANT), np.float32)


@cache
def _steps() -> Cells:
    """(n, 2) cells, the nearest first; never (0, 0)."""
    found: list[tuple[int, int]] = []
    within = 0
    for reach, step in RINGS:
        line = range(-reach, reach + 1, step)
        found += [(y, x) for y in line for x in line if max(abs(y), abs(x)) > within]
        within = reach
    return np.array(sorted(found, key=lambda each: (each[0] ** 2 + each[1] ** 2, each)), np.int64)


def _span(at: NDArray[np.int64], size: int, margin: int) -> slice:
    """From the first to the last of them, and so much more, of `size`."""
    return slice(max(0, int(at[0]) - margin), min(size, int(at[-1]) + 1 + margin))
