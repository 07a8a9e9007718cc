"""Finds the known pixel that each missing one is copied from: patch-based completion, coarse to fine, match and vote.

Method: Wexler, Shechtman and Irani, Space-Time Completion of Video (2007), with the nearest patches found as in Barnes
et al., PatchMatch (2009), all pixels at a time with jumps of 8, 4, 2 and 1 pixels instead of in scan order.

OpenCV's `xphoto.inpaint(..., INPAINT_SHIFTMAP)` serves the same end, but a replay has to give the same bytes: in
5.0.0.93, on 48 random images of 24 to 90 pixels a side, it gave other bytes in another process for 27, left pixels of
the hole unfilled in 5, and on images of a few pixels it kills the process (it reads outside its buffers).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.fill.shared.inpaint import inpaint
from pipeline.records import Mask, Rgb

Flat: TypeAlias = NDArray[np.int64]
"""(n,) pixels of a padded level, counted row by row."""
Places: TypeAlias = NDArray[np.int64]
"""(H, W, 2): for each pixel a pixel (y, x)."""

RADIUS = 3
"""Of a patch, in pixels: 7 x 7; smaller when no such patch is known."""
CERTAIN = 64
"""Weight of a known pixel in a comparison. A missing one weighs FADING times less per pixel from the rim of the hole,
so that the guess grows inwards."""
FADING = 1.3
JUMPS = (8, 4, 2, 1)
"""Distances in pixels of the neighbours whose matches are tried."""
ROUNDS = (10, 5, 3, 2)
"""Matches and votes at the coarsest level, the next finer one, ...; the last number holds for all finer levels."""


def complete(pixels: Rgb, known: Mask, seed: int) -> tuple[Rgb, Places, Mask]:
    """Complete an image. pixels: HWC uint8; known: HW bool, with at least one True.

    -> the filled image; the source of each pixel (itself, when known); HW bool, where a source was found: everywhere
    or, when not even one patch of 3 x 3 pixels is known, where `known` is: then the hole is filled smoothly.
    """
    own: Places = np.moveaxis(np.indices(known.shape), 0, -1)
    radius = next((r for r in range(RADIUS, 0, -1) if _whole(known, r).any()), 0)
    if not radius or known.all():
        return inpaint(pixels, known, radius=3), own, known
    levels = [_Level(pixels, known, radius)]
    while levels[-1].depth > radius:
        coarser = _Level(*_halved(levels[-1].pixels, levels[-1].known), radius)
        if not len(coarser.sources):
            break
        levels.append(coarser)
    rng = np.random.default_rng(seed)
    image = inpaint(levels[-1].pixels, levels[-1].known, radius=3)  # the first guess
    match = levels[-1].at_random(rng)
    for i, level in reversed(list(enumerate(levels))):
        if level is not levels[-1]:
            match = level.refine(levels[i + 1].places(match), rng)
            image = level.vote(match)
        for _ in range(ROUNDS[min(len(levels) - 1 - i, len(ROUNDS) - 1)]):
            match = level.improve(image, match, rng)
            image = level.vote(match)
    return image, np.where(known[..., None], own, levels[0].places(match)), np.ones_like(known)


@dataclass
class _Match:
    """source: of each target; cost: difference of their patches (0 = not compared yet)."""

    source: Flat
    cost: NDArray[np.int64]


class _Level:
    """One size of the image, padded by the radius of a patch so that every patch lies inside.

    targets: pixels whose patch touches the hole. sources: pixels whose patch is all known.
    """

    def __init__(self, pixels: Rgb, known: Mask, radius: int) -> None:
        self.pixels, self.known, self.radius = pixels, known, radius
        self.width = known.shape[1] + 2 * radius
        side = 2 * radius + 1
        depth = cv2.distanceTransform((~known).view(np.uint8), cv2.DIST_C, 3).astype(np.int64)
        self.depth = int(depth.max())
        reach = cv2.dilate((~known).view(np.uint8), np.ones((side, side), np.uint8))
        self.targets = self._flat(reach.astype(bool))
        self.holes = self._flat(~known)
        self.is_source = np.pad(_whole(known, radius), radius).ravel()
        self.sources = np.flatnonzero(self.is_source)
        fading = np.maximum(1, np.rint(CERTAIN * FADING ** -np.arange(self.depth + 1.0))).astype(np.int32)
        self.weight = np.pad(fading[depth], radius).ravel()
        y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
        self.steps = (y * self.width + x).ravel()
        self.colours = self._padded(pixels)
        self.slot = np.zeros(self.weight.size, np.int64)
        self.slot[self.targets] = np.arange(len(self.targets))

    def at_random(self, rng: np.random.Generator) -> _Match:
        source = self.sources[rng.integers(len(self.sources), size=len(self.targets))]
        return _Match(source, np.zeros(len(source), np.int64))

    def refine(self, coarse: Places, rng: np.random.Generator) -> _Match:
        """Carry over the match of the level of half the size; draw anew where its source is not known here."""
        y, x = np.divmod(self.targets, self.width) - np.array([[self.radius]])
        place = 2 * coarse[y // 2, x // 2] + np.stack([y % 2, x % 2], axis=-1)
        height, width = self.known.shape
        place = np.minimum(place, [height - 1, width - 1])
        source = (place[:, 0] + self.radius) * self.width + place[:, 1] + self.radius
        match = self.at_random(rng)
        match.source = np.where(self.is_source[source], source, match.source)
        return match

    def improve(self, image: Rgb, match: _Match, rng: np.random.Generator) -> _Match:
        """Try for every target what its neighbours have found, then sources around its own, farther to nearer."""
        around = self.targets[:, None] + self.steps
        patches = self._padded(image)[around].astype(np.int16)
        weights = self.weight[around]
        best = _Match(match.source.copy(), self._costs(patches, weights, match.source))

        def attempt(source: Flat) -> None:
            source = np.clip(source, 0, len(self.is_source) - 1)
            rows = np.flatnonzero(self.is_source[source] & (source != best.source))
            costs = self._costs(patches[rows], weights[rows], source[rows])
            won = costs < best.cost[rows]
            best.source[rows[won]], best.cost[rows[won]] = source[rows[won]], costs[won]

        everywhere = np.arange(len(self.is_source))  # a pixel that is not a target is its own source
        for jump in JUMPS:
            for step in (jump, -jump, jump * self.width, -jump * self.width):
                everywhere[self.targets] = best.source
                attempt(everywhere.take(self.targets - step, mode="clip") + step)
        attempt(self.at_random(rng).source)
        reach = max(self.known.shape) // 2
        while reach:
            dy, dx = rng.integers(-reach, reach + 1, size=(2, len(self.targets)))
            attempt(best.source + dy * self.width + dx)
            reach //= 2
        return best

    def vote(self, match: _Match) -> Rgb:
        """Make each missing pixel the mean of what all patches over it propose; a patch that fits better and lies
        nearer to the rim counts more. In integers, so the order of the sum does not matter."""
        scale = int(np.partition(match.cost, len(match.cost) * 3 // 4)[len(match.cost) * 3 // 4]) + 1
        trust = self.weight[self.targets] * np.maximum(1, 1024 * scale // (scale + match.cost))
        total = np.zeros((len(self.holes), 3), np.int64)
        weight = np.zeros((len(self.holes), 1), np.int64)
        inside = self.weight > 0
        for step in self.steps:
            centre = self.holes - step
            slot = self.slot[centre]
            share = (trust[slot] * inside[centre])[:, None]
            total += share * self.colours[match.source[slot] + step * inside[centre]]
            weight += share
        voted = self.colours.copy()
        voted[self.holes] = (2 * total + weight) // (2 * weight)
        r = self.radius
        return voted.reshape(-1, self.width, 3)[r:-r, r:-r]

    def places(self, match: _Match) -> Places:
        """The source of every pixel of the image; of one that is not a target, itself."""
        everywhere, r = np.arange(len(self.is_source)), self.radius
        everywhere[self.targets] = match.source
        place: Places = np.stack(np.divmod(everywhere, self.width), axis=-1) - r
        return np.asarray(place.reshape(-1, self.width, 2)[r:-r, r:-r])

    def _costs(self, patches: NDArray[np.int16], weights: NDArray[np.int32], source: Flat) -> NDArray[np.int64]:
        """Sum weighted squared differences; at most 64 * 49 * 3 * 255**2, which fits 32 bits."""
        difference = patches - self.colours[source[:, None] + self.steps]
        squares = np.einsum("nkc,nkc->nk", difference, difference, dtype=np.int32)
        return np.asarray(np.einsum("nk,nk->n", squares, weights), np.int64)

    def _padded(self, image: Rgb) -> NDArray[np.uint8]:
        r = self.radius
        return np.pad(image, ((r, r), (r, r), (0, 0))).reshape(-1, 3)

    def _flat(self, mask: Mask) -> Flat:
        return np.asarray(np.flatnonzero(np.pad(mask, self.radius)))


def _whole(known: Mask, radius: int) -> Mask:
    """Mark the pixels whose patch is inside the image and known."""
    side = 2 * radius + 1
    kernel = np.ones((side, side), np.uint8)
    eroded = cv2.erode(known.view(np.uint8), kernel, borderType=cv2.BORDER_CONSTANT, borderValue=(0.0,))
    return eroded.astype(bool)


def _halved(pixels: Rgb, known: Mask) -> tuple[Rgb, Mask]:
    """Halve an image: two by two pixels become the mean of the known ones; known when all four are."""
    odd = (known.shape[0] % 2, known.shape[1] % 2)
    there = np.pad(known, ((0, odd[0]), (0, odd[1])), mode="edge")
    colours = np.pad(pixels, ((0, odd[0]), (0, odd[1]), (0, 0)), mode="edge").astype(np.int64) * there[..., None]
    shape = (there.shape[0] // 2, 2, there.shape[1] // 2, 2)
    count = there.reshape(shape).sum(axis=(1, 3))
    total = colours.reshape(*shape, 3).sum(axis=(1, 3))
    divisor = np.maximum(count, 1)[..., None]
    return ((2 * total + divisor) // (2 * divisor)).astype(np.uint8), count == 4
