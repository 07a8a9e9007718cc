"""The nearest known pixel and the mix with it, each with a known answer."""

import numpy as np

from pipeline.image.feather import fade, nearest_known


def test_a_pixel_takes_the_colour_of_the_nearest_known_one_and_nothing_hidden() -> None:
    known = np.zeros((3, 9), bool)
    known[:, 0], known[:, 8] = True, True
    pixels = np.full((3, 9, 3), 255, np.uint8)
    pixels[:, 0], pixels[:, 8] = 10, 90
    distance, number, colours = nearest_known(pixels, known)
    assert distance[1].round().tolist() == [0, 1, 2, 3, 4, 3, 2, 1, 0]
    assert colours[number][1, :4].tolist() == [[10] * 3] * 4
    assert colours[number][1, 5:].tolist() == [[90] * 3] * 4


def test_the_mix_goes_from_the_nearest_colour_to_the_fill_within_one_pixel_more_than_the_feather() -> None:
    painted, nearest = np.full((4, 3), 100, np.uint8), np.zeros((4, 3), np.float32)
    mixed = fade(painted, nearest, np.array([0, 1, 4, 9], np.float32), feather=3)
    assert mixed[:, 0].tolist() == [0, 25, 100, 100]
