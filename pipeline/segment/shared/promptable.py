"""Masks from boxes by a promptable network of the SAM kind (Kirillov et al. 2023, arXiv:2304.02643), in two ONNX files.

The encoder looks at an image once, the small decoder makes a mask of each box.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np

from pipeline.models.onnx_session import session
from pipeline.models.weights import Weights
from pipeline.records import Device, Floats, Mask, Rgb
from pipeline.segment.shared.masks import check_finite

SIDE: Final = 1024
"""Longer side of what the encoder sees; the rest of the square is black."""
_MEAN: Final = np.array([123.675, 116.28, 103.53], np.float32)
_STD: Final = np.array([58.395, 57.12, 57.375], np.float32)
_CORNERS: Final = np.array([[2, 3]], np.float32)
"""What the two points of a box are: its left upper and its right lower corner."""


class MaskModel:
    """The loaded encoder and decoder."""

    def __init__(self, encoder: Weights, decoder: Weights, device: Device, threads: int) -> None:
        self._encoder = session(encoder.fetch(), device, threads)
        self._decoder = session(decoder.fetch(), device, threads)

    def embedding(self, tile: Rgb) -> Floats:
        """What the encoder makes of a picture, (1, channels, h, w)."""
        height, width = _fitted(tile.shape[0], tile.shape[1])
        picture = cv2.resize(tile, (width, height), interpolation=cv2.INTER_LINEAR)
        seen = np.zeros((1, 3, SIDE, SIDE), np.float32)
        seen[0, :, :height, :width] = ((picture.astype(np.float32) - _MEAN) / _STD).transpose(2, 0, 1)
        (found,) = self._encoder.run(None, {self._encoder.get_inputs()[0].name: seen})
        made: Floats = found
        return made

    def mask(self, embedding: Floats, box: Floats, size: tuple[int, int]) -> tuple[Mask, float]:
        """The mask of a box, HW bool of `size` (height, width), and the intersection over union that the network gives
        it. box: left, top, right, bottom as shares of the picture. Raises ImageError (`nan_scores`)."""
        height, width = _fitted(*size)
        corners = box[:4].reshape(1, 2, 2) * np.array([width, height], np.float32)
        prompt = {
            "image_embeddings": embedding,
            "point_coords": corners.astype(np.float32),
            "point_labels": _CORNERS,
            "mask_input": np.zeros((1, 1, 256, 256), np.float32),
            "has_mask_input": np.zeros(1, np.float32),
            "orig_im_size": np.array([height, width], np.float32),
        }
        logits, likely = self._decoder.run(["masks", "iou_predictions"], prompt)
        check_finite(logits, likely)
        large = cv2.resize(logits[0, 0], (size[1], size[0]), interpolation=cv2.INTER_LINEAR)
        return np.asarray(large > 0), float(likely[0, 0])


def _fitted(height: int, width: int) -> tuple[int, int]:
    scale = SIDE / max(height, width)
    return max(1, round(height * scale)), max(1, round(width * scale))
