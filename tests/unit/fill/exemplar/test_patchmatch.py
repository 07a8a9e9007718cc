import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.fill.exemplar.patchmatch import complete
from tests.fakes.fill_samples import ellipse, photograph


@settings(max_examples=30, deadline=None)
@given(
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    seed=st.integers(0, 99),
    share=st.sampled_from([0.02, 0.5, 0.97]),
)
def test_every_pixel_comes_from_a_known_one(height: int, width: int, seed: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    known = rng.random((height, width)) > share
    known[rng.integers(height), rng.integers(width)] = True
    pixels[~known] = 0
    image, places, found = complete(pixels, known, seed)
    assert (image[known] == pixels[known]).all()
    assert found.all() or (found == known).all()
    y, x = places[found].T
    assert known[y, x].all()
    assert (places[known] == np.argwhere(known)).all()


def test_no_known_pixel_is_told_to_come_from_elsewhere_and_the_hole_has_few_seams() -> None:
    pixels = photograph("brick.png")[::4, ::4]
    height, width, _ = pixels.shape
    known = ~ellipse(height, width, 64, 64, 20, 20)
    _, places, found = complete(pixels, known, 1)
    shift = places - np.moveaxis(np.indices(known.shape), 0, -1)
    assert found.all()
    assert (shift[known] == 0).all()
    hole = ~known[:, 1:] & ~known[:, :-1]
    assert (shift[:, 1:] == shift[:, :-1]).all(axis=-1)[hole].mean() > 0.5
