"""Draws holes as the jobs make them: faces and boxes, text, objects, and strokes of any form."""

from __future__ import annotations

import math
import string
from collections.abc import Callable, Mapping
from typing import Final

import cv2
import numpy as np

from pipeline.records import Mask

MIN_SHARE, MAX_SHARE = 0.01, 0.45
"""Share of the window that is a hole; a smaller or larger one is drawn again."""
_FONTS: Final = (
    cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_DUPLEX, cv2.FONT_HERSHEY_COMPLEX, cv2.FONT_HERSHEY_TRIPLEX,
    cv2.FONT_HERSHEY_SCRIPT_COMPLEX,
)  # fmt: skip
_LETTERS: Final = string.ascii_letters + string.digits


def text(rng: np.random.Generator, side: int) -> Mask:
    """Draw lines of letters, dilated as by select."""
    drawn = np.zeros((side, side), np.uint8)
    font, scale = int(rng.choice(_FONTS)), float(rng.uniform(0.4, 1.4)) * side / 128
    thick = int(rng.integers(1, 2 + math.ceil(2 * scale)))
    height = int(30 * scale)
    top = int(rng.integers(height // 2, side))
    for row in range(int(rng.integers(1, 4))):
        letters = "".join(rng.choice(list(_LETTERS), int(rng.integers(2, 12))))
        left = int(rng.integers(-side // 4, side // 2))
        cv2.putText(drawn, letters, (left, (top + row * height) % (side + height)), font, scale, 255, thick)
    reach = int(rng.integers(1, 2 + side // 64))
    return cv2.dilate(drawn, np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)) > 0


def block(rng: np.random.Generator, side: int) -> Mask:
    """Draw a box, or a few lines of text covered by boxes."""
    drawn = np.zeros((side, side), np.uint8)
    if rng.random() < 0.5:
        height, width = _shape(rng, side, 0.03, 0.3)
        top, left = (int(rng.integers(0, side - size + 1)) for size in (height, width))
        drawn[top : top + height, left : left + width] = 255
    else:
        height, top, left = (
            int(rng.integers(side // 16, side // 6)),
            int(rng.integers(0, side)),
            int(rng.integers(side)),
        )
        for row in range(int(rng.integers(1, 4))):
            y = top + row * (height + height // 3)
            x = max(0, left - int(rng.integers(side // 2)))
            drawn[y : y + height, x : x + int(rng.integers(side // 6, side))] = 255
    return drawn > 0


def ellipse(rng: np.random.Generator, side: int) -> Mask:
    """Draw one ellipse or a few, the shape of heads."""
    drawn = np.zeros((side, side), np.uint8)
    for _ in range(int(rng.choice([1, 1, 1, 2, 3]))):
        height, width = _shape(rng, side, 0.03, 0.35)
        centre = (int(rng.integers(side)), int(rng.integers(side)))
        cv2.ellipse(drawn, centre, (width // 2 + 1, height // 2 + 1), float(rng.uniform(0, 180)), 0, 360, 255, -1)
    return drawn > 0


def silhouette(rng: np.random.Generator, side: int) -> Mask:
    """Draw a blob with lobes, the shape of objects: smooth noise over a hill, cut at a height."""
    coarse = int(rng.integers(3, 8))
    noise = rng.standard_normal((coarse, coarse)).astype(np.float32)
    noise = np.asarray(cv2.resize(noise, (side, side), interpolation=cv2.INTER_CUBIC), np.float32)
    y, x = np.mgrid[:side, :side] / side - rng.uniform(0.2, 0.8, (2, 1, 1))
    hill = noise - 10 * (y * y + x * x)
    return np.asarray(hill > np.quantile(hill, 1 - rng.uniform(0.05, 0.35)))


def strokes(rng: np.random.Generator, side: int) -> Mask:
    """Draw free-form brush strokes (after Yu et al. 2019)."""
    drawn = np.zeros((side, side), np.uint8)
    for _ in range(int(rng.integers(1, 5))):
        point, angle = rng.uniform(0, side, 2), float(rng.uniform(0, 2 * math.pi))
        thick = max(1, int(rng.uniform(0.03, 0.15) * side))
        for _ in range(int(rng.integers(2, 8))):
            angle += float(rng.uniform(-1.2, 1.2))
            step = point + rng.uniform(0.1, 0.3) * side * np.array([math.cos(angle), math.sin(angle)])
            (x, y), (u, v) = point.astype(int).tolist(), step.astype(int).tolist()
            cv2.line(drawn, (x, y), (u, v), 255, thick)
            cv2.circle(drawn, (u, v), thick // 2, 255, -1)
            point = step
    return drawn > 0


KINDS: Final[Mapping[str, Callable[[np.random.Generator, int], Mask]]] = {
    "text": text,
    "block": block,
    "ellipse": ellipse,
    "silhouette": silhouette,
    "strokes": strokes,
}


def hole(rng: np.random.Generator, side: int) -> Mask:
    """Draw a hole of any kind: (side, side) bool, True = paint, MIN_SHARE to MAX_SHARE of the window."""
    while True:
        mask = KINDS[str(rng.choice(list(KINDS)))](rng, side)
        if MIN_SHARE <= mask.mean() <= MAX_SHARE:
            return mask


def _shape(rng: np.random.Generator, side: int, low: float, high: float) -> tuple[int, int]:
    """Draw the height and width of a box that is a share from low to high of the window."""
    area, aspect = rng.uniform(low, high) * side * side, math.exp(rng.uniform(-0.9, 0.9))
    height = min(side, max(2, round(math.sqrt(area * aspect))))
    return height, min(side, max(2, round(area / height)))
