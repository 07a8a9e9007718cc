"""One large image through `clean`: `python -m tests.fakes.large_image_run SIDE FOLDER`.

Fills discs in a drawing of SIDE x SIDE pixels with a small U-Net in tiles, and prints the exit code, the number of
images written, and the peak resident memory in MiB before and after.
"""

import resource
import sys
from pathlib import Path

import cv2
import numpy as np
import torch

from jobs.entry import main
from pipeline.segment.nets.unet import UNet
from tests.fakes.network_training import cross_entropy, saved, train
from tests.fakes.published_output import totals

TILES = [
    "unet.side=512",
    "unet.sliding_window.overlap=32",
    "unet.width=4",
    "unet.depth=1",
    "unet.names=['',disc,square]",
]


def trained(folder: Path) -> list[str]:
    """Train a U-Net on the drawings. Returns its overrides; its receptive field reaches 20 pixels."""
    torch.manual_seed(0)
    module = UNet(classes=3, width=4, depth=1)
    train(module, cross_entropy(module), steps=40, rate=0.03)
    return [
        f"segment.{value}" for value in (*TILES, *(f"unet.{w}" for w in saved(module, folder / "unet.safetensors")))
    ]


def draw(file: Path, side: int) -> None:
    """Write a JPEG of red discs on grey, in the colours of `drawn_images`."""
    pixels = np.full((side, side, 3), 90, np.uint8)
    random = np.random.default_rng(0)
    for x, y in random.integers(0, side, (60, 2)).tolist():
        cv2.circle(pixels, (x, y), int(random.integers(side // 100, side // 40)), (220, 60, 50), -1)
    file.parent.mkdir(parents=True)
    cv2.imwrite(str(file), pixels[:, :, ::-1])


def run(side: int, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    net = trained(folder)
    fill(1024, folder / "small", net)  # loads everything and runs a few tiles
    before = _peak()
    code, written = fill(side, folder / "large", net)
    print(code, written, before, _peak())


def fill(side: int, folder: Path, net: list[str]) -> tuple[int, int]:
    """Run `clean` on one drawing. Returns the exit code and the number of images written."""
    draw(folder / "in/a.jpg", side)
    places = [f"source.uri={folder / 'in'}", f"sink.uri={folder / 'out'}", "execute=local", "sink=files"]
    code = main("clean", [*places, "segment=[unet]", "select=all", "fill=solid", *net])
    return code, totals(str(folder / "out"))["written"]


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10


if __name__ == "__main__":
    run(int(sys.argv[1]), Path(sys.argv[2]))
