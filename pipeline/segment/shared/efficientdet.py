"""Boxes of objects from an EfficientDet network (Tan et al. 2020, arXiv:1911.09070), decoded as MediaPipe does."""

from __future__ import annotations

from functools import cache
from itertools import product
from typing import Final

import cv2
import numpy as np

from pipeline.models.onnx_session import session
from pipeline.models.tflite_graph import load_tflite
from pipeline.models.weights import Weights
from pipeline.records import Device, Floats, Rgb
from pipeline.segment.shared.boxes import suppress
from pipeline.segment.shared.masks import check_finite

SIDE: Final = 320
"""Height and width of the network's input: its int8 numbers were fitted at this size."""
_LEVELS: Final = (8, 16, 32, 64, 128)
"""Strides in pixels."""
_ANCHOR: Final = 3.0  # of the Lite networks, in strides; 4 in the others
_RATIOS: Final = (1.0, 2.0, 0.5)


class BoxModel:
    """A loaded detector. weights: a .tflite file with two outputs, probabilities (n, anchors, classes) and boxes (n,
    anchors, 4)."""

    def __init__(self, weights: Weights, device: Device, threads: int) -> None:
        self._session = session(load_tflite(weights.fetch()), device, threads)

    def __call__(self, tile: Rgb, *, score: float, nms: float, most: int) -> tuple[Floats, list[int]]:
        """Boxes (n, 5) of left, top, right, bottom, probability, as shares of the tile (0..1), best first, at most
        `most`; and the class of each. Boxes of one class that overlap by more than `nms` are one.

        Raises ImageError (`nan_scores`).
        """
        small = cv2.resize(tile, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
        scaled = (small.astype(np.float32) - 127) / 128
        found = self._session.run(None, {"image": scaled.transpose(2, 0, 1)[None].copy()})
        classes, boxes = sorted((answer[0] for answer in found), key=lambda answer: -answer.shape[1])
        return decode(classes, boxes, score=score, nms=nms, most=most)


def decode(classes: Floats, boxes: Floats, *, score: float, nms: float, most: int) -> tuple[Floats, list[int]]:
    """classes: (anchors, classes) probabilities. boxes: (anchors, 4), offset of y and x and log of height and width,
    relative to the anchor. Returns what `BoxModel` does."""
    check_finite(classes, boxes)
    likely = np.flatnonzero(classes.max(axis=1) >= score)
    anchors, best = _anchors()[likely], classes[likely].argmax(axis=1)
    middle = anchors[:, :2] + boxes[likely][:, 1::-1] * anchors[:, 2:]
    size = anchors[:, 2:] * np.exp(boxes[likely][:, :1:-1].clip(-8, 8))
    parts = [middle - size / 2, middle + size / 2, classes[likely, best][:, None]]
    rows = np.concatenate(parts, axis=1).astype(np.float32)
    rows[:, :4] = (rows[:, :4] / SIDE).clip(0, 1)
    kept = [
        position
        for number in np.unique(best).tolist()
        for position in np.flatnonzero(best == number)[suppress(rows[best == number], nms)].tolist()
    ]
    kept.sort(key=lambda position: (-float(rows[position, 4]), position))
    return rows[kept[:most]], best[kept[:most]].tolist()


@cache
def _anchors() -> Floats:
    """(n, 4): x, y, width, height in pixels of the input, in the order of the network's answers."""
    made = []
    for stride in _LEVELS:
        cells = -(-SIDE // stride)
        for y, x in product(range(cells), repeat=2):
            for octave, ratio in product(range(3), _RATIOS):
                side = _ANCHOR * stride * 2 ** (octave / 3)
                made.append(((x + 0.5) * stride, (y + 0.5) * stride, side * ratio**0.5, side / ratio**0.5))
    return np.array(made, np.float32)
