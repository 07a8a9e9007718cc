"""Photographs with planted holes, each filled in many ways, perfectly to badly: what a score of fills is judged by."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np

from jobs.demo_shards import photograph
from pipeline.contracts import Fill, FillModel
from pipeline.fill.shared.crops import cut
from pipeline.image import rle
from pipeline.records import Mask, Pixels, Region, Rgb
from tests.bench import likeness
from tests.fakes.specs import preset

PHOTOS = (
    "astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg", "motorcycle_left.png", "hubble_deep_field.jpg",
    "retina.jpg",
)  # fmt: skip
SIDE = 480
"""Longer side of a photograph."""
HOLES = 3
"""Of each photograph: a box, an ellipse, a word."""
AROUND = 20
"""Pixels around the hole that HaarPSI sees."""
OURS = ("diffuse", "generative", "solid mean", "solid grey")
"""Fills of this package among the kinds; `exemplar` would take a minute."""


@dataclass(frozen=True)
class PlantedFill:
    """A filled hole. kind: how it was filled. haarpsi: likeness to the original, 1 is the same."""

    photo: str
    hole: int
    kind: str
    rgb: Rgb
    mask: Mask
    haarpsi: float


@cache
def planted_fills() -> tuple[PlantedFill, ...]:
    return tuple(fill for photo in PHOTOS for fill in _of_photo(photo))


def _of_photo(photo: str) -> Iterator[PlantedFill]:
    picture = photograph(photo).convert("RGB")
    picture.thumbnail((SIDE, SIDE))
    rgb = np.asarray(picture)
    rng = np.random.default_rng((7, PHOTOS.index(photo)))
    for hole in range(HOLES):
        mask = _hole(rng, hole, *rgb.shape[:2])
        rows, columns = np.nonzero(mask)
        window = np.s_[
            max(0, rows.min() - AROUND) : rows.max() + AROUND + 1,
            max(0, columns.min() - AROUND) : columns.max() + AROUND + 1,
        ]
        for kind, filled in _fills(rgb, mask, rng):
            score = likeness.haarpsi(filled[window], rgb[window])
            yield PlantedFill(photo, hole, kind, filled, mask, score)


def _hole(rng: np.random.Generator, number: int, height: int, width: int) -> Mask:
    tall, wide = (int(side) for side in rng.integers(20, 121, 2))
    top, left = int(rng.integers(4, height - tall - 4)), int(rng.integers(4, width - wide - 4))
    drawn = np.zeros((height, width), np.uint8)
    if number == 0:
        drawn[top : top + tall, left : left + wide] = 1
    elif number == 1:
        cv2.ellipse(drawn, (left + wide // 2, top + tall // 2), (wide // 2, tall // 2), 0, 0, 360, 1, -1)
    else:
        at = min(left, width - 160), max(top, 60)
        cv2.putText(
            drawn, "Segfill", at, cv2.FONT_HERSHEY_SIMPLEX, float(rng.uniform(1, 2)), 1, int(rng.integers(4, 9))
        )
        drawn = np.asarray(cv2.dilate(drawn, np.ones((5, 5), np.uint8)), np.uint8)
    return drawn > 0


def _fills(rgb: Rgb, mask: Mask, rng: np.random.Generator) -> Iterator[tuple[str, Rgb]]:
    real = rgb.astype(float)
    shift = (
        int(rng.integers(rgb.shape[0] // 4, rgb.shape[0] // 2)),
        int(rng.integers(rgb.shape[1] // 4, rgb.shape[1] // 2)),
    )
    made = {
        "original": real,
        "16 levels off": real + 16,
        "32 levels off": real + 32,
        "blurred, sigma 3": cv2.GaussianBlur(real, (0, 0), 3),
        "blurred, sigma 10": cv2.GaussianBlur(real, (0, 0), 10),
        "another part": np.roll(real, shift, (0, 1)),
        "with noise": real + rng.normal(0, 25, real.shape),
    }
    for kind, values in made.items():
        yield kind, np.where(mask[..., None], np.rint(np.clip(values, 0, 255)).astype(np.uint8), rgb)
    for kind in OURS:
        yield kind, _filled(rgb, mask, kind)


def _filled(rgb: Rgb, mask: Mask, kind: str) -> Rgb:
    spec, model = _loaded(kind)
    height, width = mask.shape
    region = Region(
        image_id="planted", height=height, width=width, rle=rle.encode(mask), area=int(mask.sum()), chosen=(0,)
    )
    out = rgb.copy()
    for patch in model(cut(Pixels(rgb=rgb, alpha=np.zeros((0, 0), np.uint8)), region, spec)):
        tall, wide = patch.mask.shape
        out[patch.y : patch.y + tall, patch.x : patch.x + wide][patch.mask] = patch.pixels[patch.mask]
    return out


@cache
def _loaded(kind: str) -> tuple[Fill, FillModel]:
    name, _, colour = kind.partition(" ")
    options = {"colour": {"mean": "mean", "grey": "#808080"}[colour]} if colour else {}
    spec = preset("fill", name, **options)
    return spec, spec.load("cpu", 1)
