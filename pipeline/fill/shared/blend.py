"""Blends what a network painted into a picture: shifts its colours to the surroundings' and fades its border.

Both go towards known pixels, never towards hidden ones. `painted` is (h, w, 3) float32, 0..255; `true` is the picture,
(h, w, 3) uint8, of which only known pixels count.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np

from pipeline.image.feather import fade, nearest_known
from pipeline.records import Floats, Mask, Rgb

RING: Final = 16
"""Pixels around a hole whose colours are compared."""
FINE: Final = 4.0
"""Sigma in pixels above which a Gaussian is applied to shrunken pictures."""
CELL: Final = 4
"""Side in pixels of the squares over which differences of colour are averaged, so that texture does not count."""


def matched(painted: Floats, true: Rgb, ring: Mask) -> Floats:
    """Shift what was painted so that it agrees with the true colours on the ring (HW bool, all known).

    The differences there are spread over the window by averaging over larger and larger squares (pull-push: Gortler et
    al., The Lumigraph, 1996), so a shadow that is missing on one side is not added on the other.
    """
    if not ring.any():
        return painted
    size = (-(-ring.shape[1] // CELL), -(-ring.shape[0] // CELL))
    weight = ring.astype(np.float32)
    difference = np.asarray((true - painted) * weight[..., None], np.float32)
    total = np.asarray(cv2.resize(difference, size, interpolation=cv2.INTER_AREA), np.float32)
    weight = np.asarray(cv2.resize(weight, size, interpolation=cv2.INTER_AREA), np.float32)
    spread = _spread(total.reshape(*weight.shape, 3), weight)
    return painted + _resized(spread, ring.shape[0], ring.shape[1])


def anchored(painted: Floats, sketch: Rgb, sigma: float) -> Floats:
    """Put the detail of what was painted on the broad colours of the sketch, which a Gaussian of `sigma` pixels keeps.

    Those are smooth, so a wide Gaussian is applied to shrunken pictures: it costs the same for any sigma.
    """
    height, width = painted.shape[:2]
    scale = min(1.0, FINE / sigma)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    difference = np.asarray(sketch - painted, np.float32)
    small = cv2.resize(difference, size, interpolation=cv2.INTER_AREA)
    small = cv2.GaussianBlur(small, (0, 0), sigma * scale, borderType=cv2.BORDER_REPLICATE)
    return np.asarray(painted + _resized(np.asarray(small, np.float32), height, width), np.float32)


def feathered(painted: Floats, true: Rgb, known: Mask, feather: int) -> Floats:
    """Fade, within `feather` pixels of the known ones, to the colour of the nearest known pixel."""
    if not feather or known.all() or not known.any():
        return painted
    distance, number, colours = nearest_known(true, known)
    rim = distance < feather + 1
    faded = painted.copy()
    faded[rim] = fade(painted[rim], colours[number[rim]], distance[rim], feather)
    return faded


def cloned(painted: Floats, true: Rgb, known: Mask, *, sketched: bool = False) -> Floats:
    """Put the gradients of what was painted on the known colours (Perez et al., Poisson Image Editing, 2003).

    `cv2.seamlessClone` keeps the outermost pixels of the hole's box, and takes the gradients of the next three from the
    picture it clones onto: there the nearest known colours continue into the hole, unless `true` holds a sketch in it
    (sketched). A hole thinner than three pixels, which it cannot clone, is returned as painted.
    """
    left, top, width, height = cv2.boundingRect((~known).view(np.uint8))
    if min(width, height) < 3 or not known.any():
        return painted
    if sketched:
        under = np.asarray(true, np.float32)
    else:
        _, number, colours = nearest_known(true, known)
        under = colours[number]
    rim = ((1, 1), (1, 1), (0, 0))  # it needs one around the hole
    source, ground = (np.pad(_bytes(array), rim, mode="edge") for array in (painted, under))
    mask = np.pad(~known, 1).view(np.uint8) * np.uint8(255)
    centre = (1 + left + width // 2, 1 + top + height // 2)
    mixed = cv2.seamlessClone(source, ground, mask, centre, cv2.NORMAL_CLONE)
    return np.asarray(mixed[1:-1, 1:-1], np.float32)


def near(mask: Mask, radius: int) -> Mask:
    """Grow a mask by a square of this radius in pixels."""
    kernel = np.ones((2 * radius + 1, 2 * radius + 1), np.uint8)
    return np.asarray(cv2.dilate(mask.view(np.uint8), kernel), np.uint8).view(np.bool_)


def _spread(total: Floats, weight: Floats) -> Floats:
    """Spread values to where their weight is small. total: values times their weights, (h, w, 3); weight: (h, w), 0..1,
    some above 0. -> (h, w, 3) values."""
    height, width = weight.shape
    own = np.asarray(total / np.maximum(weight, 1e-6)[..., None], np.float32)
    if height == width == 1:
        return own
    rows, columns = np.arange(0, height, 2), np.arange(0, width, 2)
    # Four squares become one: its weight is their sum, at most 1, so that one square of weight 1 is enough.
    sums = np.add.reduceat(np.add.reduceat(total, rows, axis=0), columns, axis=1)
    weights = np.add.reduceat(np.add.reduceat(weight, rows, axis=0), columns, axis=1)
    least = np.minimum(weights, 1)
    scaled = sums * (least / np.maximum(weights, 1e-6))[..., None]
    wider = _spread(np.asarray(scaled, np.float32), np.asarray(least, np.float32))
    share = weight[..., None]
    return np.asarray(own * share + _resized(wider, height, width) * (1 - share), np.float32)


def _resized(values: Floats, height: int, width: int) -> Floats:
    """Resize bilinearly."""
    return np.asarray(cv2.resize(values, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)


def _bytes(values: Floats) -> Rgb:
    return np.rint(values).clip(0, 255).astype(np.uint8)
