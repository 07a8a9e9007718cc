"""Measures a generator on fixed windows of held-out photographs with fixed holes, and draws a sheet of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import torch

from pipeline.fill.generative.network_input import network_input
from pipeline.fill.generative.train.generator import Generator
from pipeline.fill.generative.train.holes import hole
from pipeline.fill.generative.train.photos import Photo, PhotoDecoder, random_window
from pipeline.records import Rgb

SIDE: Final = 128
COUNT: Final = 40
"""Windows, at most four a photograph."""
SHOWN: Final = 16
"""Windows on the sheet, in four columns."""


def validate(generator: Generator, photos: Sequence[Photo], folder: Path, step: int) -> str:
    """Write sheet-<step>.png: real, blanked, filled. -> PSNR in the holes, median grain by the real, as text."""
    rng, decoded = np.random.default_rng(0), PhotoDecoder()
    rows, errors, grain = list[Rgb](), list[float](), list[float]()
    for number in range(min(COUNT, 4 * len(photos))):
        real, mask = random_window(decoded(photos[number % len(photos)]), SIDE, rng), hole(rng, SIDE)
        filled = fill(generator, real, mask)
        errors.append(float(np.square(filled[mask] / 255.0 - real[mask] / 255.0).mean()))
        grain.append(_grain(filled, mask) / max(_grain(real, mask), 1e-3))
        if number < SHOWN:
            blank = real.copy()
            blank[mask] = 255
            rows.append(np.concatenate([real, blank, filled], axis=1))
    columns = [np.concatenate(rows[i::4], axis=0) for i in range(4)]
    cv2.imwrite(str(folder / f"sheet-{step:06d}.png"), np.concatenate(columns, axis=1)[..., ::-1])
    return f"held out: PSNR in holes {-10 * np.log10(np.mean(errors)):.2f} dB, grain {np.median(grain):.2f}"


def fill(generator: Generator, real: Rgb, mask: np.ndarray) -> Rgb:
    """Fill the hole of a window by the torch network. -> HWC uint8."""
    device = next(generator.parameters()).device
    inputs = torch.from_numpy(network_input(real, mask))[None]
    with torch.no_grad():
        painted = generator(inputs.to(device)).cpu()
    made = ((painted[0].permute(1, 2, 0).numpy() + 1) * 127.5).round().clip(0, 255).astype(np.uint8)
    return np.asarray(np.where(mask[..., None], made, real), np.uint8)


def _grain(rgb: Rgb, mask: np.ndarray) -> float:
    """Mean absolute Laplacian in the hole: the amount of fine detail."""
    return float(np.abs(cv2.Laplacian(rgb.astype(np.float32), cv2.CV_32F))[mask].mean())
