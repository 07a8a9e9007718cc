from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageOps

from pipeline.image.turn import turn


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("channels", [0, 3, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.int32, np.uint32, np.float32])
def test_every_type_of_number_is_turned_as_pillow_turns_a_picture(dtype: type, channels: int, orientation: int) -> None:
    numbers = np.arange(48, dtype=np.uint8).reshape(6, 8)
    stored: NDArray[Any] = numbers.astype(dtype) + np.asarray(200 if dtype != np.uint8 else 0, dtype)
    stored = np.dstack([stored + np.asarray(i, dtype) for i in range(channels)]) if channels else stored
    picture = Image.fromarray(numbers)
    picture.getexif()[0x0112] = orientation
    expected = np.asarray(ImageOps.exif_transpose(picture))
    upright = turn(stored, orientation)
    assert upright.dtype == dtype
    first = upright[..., 0] if channels else upright
    np.testing.assert_array_equal(first, expected.astype(dtype) + np.asarray(200 if dtype != np.uint8 else 0, dtype))
    if channels:
        np.testing.assert_array_equal(upright[..., 2], first + np.asarray(2, dtype))
