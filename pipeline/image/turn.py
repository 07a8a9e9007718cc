"""Turn arrays upright by EXIF's orientation."""

from __future__ import annotations

from typing import Final, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

Number = TypeVar("Number", bound=np.generic)

FLIPS: Final = {
    2: (True, False),
    3: (True, True),
    4: (False, True),
    6: (True, False),
    7: (True, True),
    8: (False, True),
}
"""Orientation -> flip left-right, flip upside down; for 5 to 8 after a transpose."""


def turn(array: NDArray[Number], orientation: int) -> NDArray[Number]:
    """Turn a stored array (HW or HWC, of any type of number) upright. orientation: EXIF 1..8; 5 to 8 swap the sides."""
    if orientation >= 5:
        array = np.asarray(cv2.transpose(array), dtype=array.dtype)  # type: ignore[arg-type]
    left_right, upside_down = FLIPS.get(orientation, (False, False))
    if left_right or upside_down:
        code = -1 if left_right and upside_down else int(left_right)
        array = np.asarray(cv2.flip(array, code), dtype=array.dtype)  # type: ignore[arg-type]
    return array
