"""A hole of 30 megapixels in a picture of 100: `python -m tests.fakes.large_hole_fill`.

Fills it with the mean as network, and prints the peak memory in MB, the area, and the largest error.
"""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from pipeline.fill.shared.crops import cut
from pipeline.fill.shared.windows import FillWindow, WindowedFill, Windowing
from pipeline.fill.solid import Solid
from pipeline.image import rle
from pipeline.records import Pixels, Region, Rgb

SIDE = 10_000


def mean(windows: Sequence[FillWindow]) -> list[Rgb]:
    known = [w.pixels[~w.mask] for w in windows]
    return [np.full(w.pixels.shape, k.mean(0).astype(np.uint8)) for w, k in zip(windows, known, strict=True)]


def main() -> None:
    cv2.setNumThreads(1)
    rgb = np.empty((SIDE, SIDE, 3), np.uint8)
    rgb[:] = np.linspace(40, 200, SIDE).astype(np.uint8)[None, :, None]
    drawn = np.zeros((SIDE, SIDE), np.uint8)
    cv2.circle(drawn, (SIDE // 2, SIDE // 2), 3100, 1, -1)
    area, code = int(drawn.sum()), rle.encode(drawn.view(bool))
    del drawn
    region = Region(image_id="a", height=SIDE, width=SIDE, rle=code, area=area, chosen=(0,))
    crops = cut(Pixels(rgb=rgb, alpha=np.zeros((0, 0), np.uint8)), region, Solid(context=0.5))
    (patch,) = WindowedFill(Windowing(fixed=True), mean)(crops)
    wrong = np.abs(patch.pixels[::97, ::97].astype(int) - rgb[::97, ::97]).max()
    peak = int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) // 1000
    print(peak, area, wrong)


if __name__ == "__main__":
    main()
