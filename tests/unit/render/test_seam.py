"""A seam is the gradient across the border of a fill over the gradient of the ring around it, to the last digit."""

import numpy as np
import pytest

from jobs.demo_shards import photograph
from pipeline.fill.diffuse import Diffuse
from pipeline.fill.solid import Solid
from pipeline.records import Crop, Mask, Rgb
from pipeline.render.seam import FLOOR, RING, seam

SIZE = 64


def box(*, top: int = 20, left: int = 24, bottom: int = 40, right: int = 44, size: int = SIZE) -> Mask:
    mask = np.zeros((size, size), np.bool_)
    mask[top:bottom, left:right] = True
    return mask


def grey(values: np.ndarray[tuple[int, ...], np.dtype[np.integer]]) -> Rgb:
    return np.repeat(values.astype(np.uint8)[..., None], 3, axis=2)


def flat(value: int = 100) -> Rgb:
    return np.full((SIZE, SIZE, 3), value, np.uint8)


def ramp(step: int) -> Rgb:
    """Brighter by `step` a column; rows are alike."""
    return grey(np.tile(np.arange(SIZE) * step, (SIZE, 1)))


def test_a_gradient_that_goes_on_has_the_seam_of_its_own_texture() -> None:
    # Columns are 4 apart and rows alike; border and ring of a square hold as many pairs of one kind as of the other.
    assert seam(ramp(4), box()) == 1.0
    assert seam(ramp(1), box()) == 0.5 / FLOOR  # below the floor


@pytest.mark.parametrize("height", [1, 7, 100])
def test_a_step_on_flat_ground_is_its_height_over_the_floor(height: int) -> None:
    picture = flat()
    picture[box()] += np.uint8(height)
    assert seam(picture, box()) == height / FLOOR


def test_a_step_on_stripes_is_compared_with_the_stripes() -> None:
    stripes = grey(np.tile(np.where(np.arange(SIZE) % 2, 120, 100), (SIZE, 1)))
    stripes[box()] = 200
    # Columns are 20 apart, rows alike: the ring's mean is 10. The border's rows see 100 and 80 in turn above and below
    # the box, 20 pairs each: 90. Left is column 23 (120, 80 away), right is column 44 (100, 100 away): 90 as well.
    assert seam(stripes, box()) == 9.0


def test_the_mean_is_over_the_channels() -> None:
    picture = flat()
    picture[box(), 1] += np.uint8(30)
    assert seam(picture, box()) == 10 / FLOOR


def test_only_the_ring_is_compared_and_only_the_border_counts() -> None:
    picture = flat()
    picture[box()] += np.uint8(40)
    before = seam(picture, box())
    noisy = np.random.default_rng(5).integers(0, 256, picture.shape).astype(np.uint8)
    far = ~box(top=20 - RING, left=24 - RING, bottom=40 + RING, right=44 + RING)
    deep = box(top=21, left=25, bottom=39, right=43)
    picture[far], picture[deep] = noisy[far], noisy[deep]
    assert seam(picture, box()) == before == 40 / FLOOR
    ring = ~far & ~box(top=19, left=23, bottom=41, right=45)
    picture[ring] = noisy[ring]
    assert seam(picture, box()) < before / 10


def test_nothing_filled_and_everything_filled_have_no_border() -> None:
    picture = np.random.default_rng(1).integers(0, 256, (SIZE, SIZE, 3)).astype(np.uint8)
    assert seam(picture, np.zeros((SIZE, SIZE), np.bool_)) == 0.0
    assert seam(picture, np.ones((SIZE, SIZE), np.bool_)) == 0.0
    assert seam(picture[:1, :1], np.ones((1, 1), np.bool_)) == 0.0


def test_where_no_ring_is_left_the_floor_stands_for_it() -> None:
    picture = flat()
    all_but_one_column = np.ones((SIZE, SIZE), np.bool_)
    all_but_one_column[:, 0] = False
    picture[all_but_one_column] += np.uint8(50)
    assert seam(picture, all_but_one_column) == 50 / FLOOR


@pytest.mark.parametrize(("top", "left"), [(0, 0), (0, 44), (44, 0), (44, 44), (0, 30)])
def test_at_the_border_of_the_picture(top: int, left: int) -> None:
    picture, mask = flat(), box(top=top, left=left, bottom=top + 20, right=left + 20)
    picture[mask] += np.uint8(25)
    assert seam(picture, mask) == 25 / FLOOR


@pytest.mark.parametrize(("row", "column"), [(30, 30), (0, 0), (63, 63), (0, 31)])
def test_a_single_pixel(row: int, column: int) -> None:
    picture, mask = flat(), np.zeros((SIZE, SIZE), np.bool_)
    mask[row, column] = True
    picture[mask] += np.uint8(9)
    assert seam(picture, mask) == 9 / FLOOR


def test_parts_count_together_by_the_length_of_their_borders() -> None:
    small, large = box(top=4, left=4, bottom=9, right=9), box(top=30, left=30, bottom=45, right=45)
    picture = flat()
    picture[small] += np.uint8(80)
    assert seam(picture, small | large) == 80 * 20 / (20 + 60) / FLOOR


def test_a_window_of_the_picture_is_seen_as_the_whole() -> None:
    """The result depends on the surroundings only, not on where the region lies or how the array is laid out."""
    picture = np.random.default_rng(2).integers(0, 256, (SIZE, SIZE, 3)).astype(np.uint8)
    once = seam(picture, box())
    wide = np.zeros((200, 300, 3), np.uint8)
    mask = np.zeros((200, 300), np.bool_)
    wide[100:164, 200:264], mask[100:164, 200:264] = picture, box()
    assert seam(wide, mask) == seam(np.asfortranarray(wide), np.asfortranarray(mask)) == once
    assert once == round(once, 4)


def test_what_is_seen_on_a_photograph() -> None:
    """A perfect fill is the original; a smooth one passes; a grey disc does not, nor does another place's texture."""
    rgb = np.asarray(photograph("chelsea.png").convert("RGB"))
    rows, columns = np.ogrid[: rgb.shape[0], : rgb.shape[1]]
    mask = (rows - 150) ** 2 + (columns - 230) ** 2 <= 40**2
    crop = Crop(x=0, y=0, pixels=np.where(mask[..., None], np.uint8(0), rgb), mask=mask, known=~mask, seed=1)

    def filled(fill: Diffuse | Solid) -> float:
        (patch,) = fill.load("cpu", 1)([crop])
        return seam(np.where(mask[..., None], patch.pixels, rgb), mask)

    assert 0.5 < seam(rgb, mask) < 1.6
    assert filled(Diffuse()) < 1.0
    assert filled(Solid(colour="#101010")) > 3.0
