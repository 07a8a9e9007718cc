from typing import Literal

import numpy as np
import pytest

from pipeline.fill.shared.inpaint import inpaint


@pytest.mark.parametrize("method", ["telea", "ns"])
@pytest.mark.parametrize("shape", [(1, 9), (9, 1), (6, 6), (30, 40)])
def test_known_pixels_stay_and_one_colour_fills_everything(
    method: Literal["telea", "ns"], shape: tuple[int, int]
) -> None:
    known = np.zeros(shape, bool)
    known[0, 0] = known[-1, -1] = True
    pixels = np.zeros((*shape, 3), np.uint8)
    pixels[known] = [70, 140, 210]
    assert np.abs(inpaint(pixels, known, 5, method).astype(int) - [70, 140, 210]).max() <= (1 if method == "ns" else 8)
