"""Drawings with an exact class per pixel, and how well an annotate run finds them."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pipeline.image import rle
from tests.fakes.job_run import run
from tests.fakes.published_output import rows

NAMES = ("ground", "disc", "square")
_COLOURS = ((90, 90, 90), (220, 60, 50), (40, 70, 210))


def drawing(seed: int, height: int = 96, width: int = 128) -> tuple[np.ndarray, np.ndarray]:
    """Draw a red disc and a blue square on noisy grey: (h, w, 3) uint8, and the class of each pixel, (h, w) int64."""
    random = np.random.default_rng(seed)
    classes = np.zeros((height, width), np.int64)
    y, x = np.mgrid[:height, :width]
    side = min(height, width)
    radius, half = random.uniform(0.15, 0.25, 2) * side
    row, column = random.uniform(0.3, 0.7) * height, random.uniform(0.2, 0.35) * width
    classes[(y - row) ** 2 + (x - column) ** 2 <= radius**2] = 1
    row, column = random.uniform(0.3, 0.7) * height, random.uniform(0.65, 0.8) * width
    classes[(abs(y - row) <= half) & (abs(x - column) <= half)] = 2
    rgb = np.array(_COLOURS)[classes] + random.normal(0, 12, (height, width, 3))
    return rgb.clip(0, 255).round().astype(np.uint8), classes


def folder_of(folder: Path, seeds: range, height: int = 96, width: int = 128) -> Path:
    folder.mkdir(parents=True)
    for seed in seeds:
        Image.fromarray(drawing(seed, height, width)[0]).save(folder / f"{seed}.png")
    return folder


def annotate(source: Path, out: Path, *overrides: str) -> list[dict[str, Any]]:
    """Run `annotate`. Returns the rows of its masks table, each with its `seed` and its `mask`."""
    ended = run("annotate", source, out, "execute=local", *overrides)
    assert ended.code == 0, ended.out + ended.err
    members = {str(row["image_id"]): str(row["member"]) for row in rows(out)}
    found = rows(out, "masks")
    for row in found:
        height, width = row["height"], row["width"]
        row["seed"] = int(Path(members[str(row["image_id"])]).stem)
        row["mask"] = rle.decode(str(row["rle"]).encode(), height, width)
    return found


def mean_overlap(found: list[dict[str, Any]], seeds: range, height: int = 96, width: int = 128) -> float:
    """Mean IoU over the three classes; the pixels of a class are counted over all drawings together."""
    both, either = np.zeros(len(NAMES)), np.zeros(len(NAMES))
    for seed in seeds:
        _, classes = drawing(seed, height, width)
        for number, name in enumerate(NAMES):
            mask = np.zeros((height, width), bool)
            for row in found:
                if row["seed"] == seed and row["label"] == name:
                    mask |= row["mask"]
            both[number] += (mask & (classes == number)).sum()
            either[number] += (mask | (classes == number)).sum()
    return float((both / either).mean())
