"""Pictures and masks whose right fill is known, the crops of both, and the filled picture."""

from __future__ import annotations

from importlib.resources import files

import cv2
import numpy as np
from PIL import Image

from pipeline.contracts import Fill
from pipeline.fill.blur import Blur
from pipeline.fill.diffuse import Diffuse
from pipeline.fill.exemplar.fill import Exemplar
from pipeline.fill.pixelate import Pixelate
from pipeline.fill.shared.crops import cut
from pipeline.fill.solid import Solid
from pipeline.image import rle
from pipeline.records import Crop, Mask, Pixels, Region, Rgb

BLANKED: tuple[Fill, ...] = (
    Solid(),
    Solid(colour="#102030"),
    Diffuse(),
    Diffuse(method="telea"),
    Diffuse(side=24),
    Exemplar(),
    Exemplar(side=24),
)
REVERSIBLE: tuple[Fill, ...] = (Blur(allow_reversible=True), Pixelate(allow_reversible=True))


def photograph(name: str) -> Rgb:
    """A photograph of scikit-image as RGB."""
    with (files("skimage") / "data" / name).open("rb") as file:
        return np.array(Image.open(file).convert("RGB"))


def ellipse(height: int, width: int, x: int, y: int, across: int, down: int) -> Mask:
    drawn = np.zeros((height, width), np.uint8)
    cv2.ellipse(drawn, (x, y), (across, down), 0, 0, 360, 1, -1)
    return drawn.astype(bool)


def face() -> tuple[Rgb, Mask]:
    """The astronaut and an ellipse over her face."""
    return photograph("astronaut.png"), ellipse(512, 512, 222, 118, 52, 70)


def gradient(height: int, width: int) -> Rgb:
    """Red grows by 2 each column, green by 1 each row."""
    y, x = np.mgrid[:height, :width]
    return np.stack([40 + 2 * x, 60 + y, np.full_like(x, 90)], axis=-1).astype(np.uint8)


def crops_of(rgb: Rgb, mask: Mask, fill: Fill, image_id: str = "a") -> tuple[Crop, ...]:
    height, width = mask.shape
    region = Region(
        image_id=image_id, height=height, width=width, rle=rle.encode(mask), area=int(mask.sum()), chosen=(0,)
    )
    return cut(Pixels(rgb=rgb, alpha=np.zeros((0, 0), np.uint8)), region, fill)


def filled(rgb: Rgb, mask: Mask, fill: Fill, image_id: str = "a") -> Rgb:
    """Fill the picture: every patch is pasted under its mask."""
    result = rgb.copy()
    for patch in fill.load("cpu", 1)(crops_of(rgb, mask, fill, image_id)):
        height, width = patch.mask.shape
        result[patch.y : patch.y + height, patch.x : patch.x + width][patch.mask] = patch.pixels[patch.mask]
    return result
