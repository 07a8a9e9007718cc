"""A network of one size fills a crop of any size. The networks here know what they paint: a plane through the colours
that they are shown, or stripes of a known kind with the phase that they see. What is hidden has one right answer."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
import pytest

from pipeline.contracts import FillModel
from pipeline.errors import ConfigError, ImageError
from pipeline.fill.shared.crops import GREY
from pipeline.fill.shared.inpaint import inpaint
from pipeline.fill.shared.windows import FillWindow, WindowedFill, Windowing
from pipeline.records import Device, Rgb
from tests.fakes import specs
from tests.fakes.fill_samples import crops_of, ellipse, face, filled

PERIOD = 24


class Fill:
    """A fill whose network is a function."""

    active, reversible, weights = True, False, ()

    def __init__(
        self, windowing: Windowing, paint: Callable[[Sequence[FillWindow]], list[Rgb]], context: float = 0.5
    ) -> None:
        self.windowing, self.paint, self.context = windowing, paint, context

    def load(self, device: Device, threads: int) -> FillModel:
        return WindowedFill(self.windowing, self.paint)


def plane(windows: Sequence[FillWindow], cast: tuple[int, int, int] = (0, 0, 0), tilt: float = 0.0) -> list[Rgb]:
    """Least squares through what is shown; with a cast of colour, which may grow from left to right."""
    painted = []
    for window in windows:
        y, x = np.mgrid[: window.mask.shape[0], : window.mask.shape[1]]
        basis = np.stack([np.ones(x.shape), x, y], -1)
        seen = ~window.mask
        best, *_ = np.linalg.lstsq(basis[seen], window.pixels[seen].astype(float), rcond=None)
        wrong = np.array(cast) + tilt * x[..., None]
        painted.append(np.rint(basis @ best + wrong).clip(0, 255).astype(np.uint8))
    return painted


def stripes_like(windows: Sequence[FillWindow]) -> list[Rgb]:
    """The phase of the stripes that are shown, continued."""
    painted = []
    for window in windows:
        y, x = np.mgrid[: window.mask.shape[0], : window.mask.shape[1]]
        seen = ~window.mask
        phases = [stripes(y, x, phase) for phase in range(PERIOD)]
        wrong = [np.abs(phase[seen].astype(int) - window.pixels[seen]).sum() for phase in phases]
        painted.append(phases[int(np.argmin(wrong))])
    return painted


def flowing(windows: Sequence[FillWindow]) -> list[Rgb]:
    return [inpaint(w.pixels, ~w.mask, 5) if (~w.mask).any() else w.pixels for w in windows]


def stripes(y: np.ndarray, x: np.ndarray, phase: float = 0) -> Rgb:
    light = ((x + y + phase) % PERIOD < PERIOD // 2).astype(int)
    return np.stack([60 + 120 * light, 200 - 100 * light, 80 + 40 * light], -1).astype(np.uint8)


def slope(height: int, width: int) -> Rgb:
    y, x = np.mgrid[:height, :width]
    levels: np.ndarray = np.rint(np.stack([40 + 0.3 * x, 60 + 0.3 * y, 200 - 0.2 * x], -1))
    return levels.astype(np.uint8)


FITS = [
    Windowing(side=512),
    Windowing(side=320, fixed=True),
    Windowing(side=128, overlap=16, multiple=32),
    Windowing(side=128, overlap=32, fixed=True),
    Windowing(side=64, overlap=8, blend="feather"),
    Windowing(side=64, overlap=16, blend="poisson"),
    Windowing(side=128, overlap=0),
]
fits = pytest.mark.parametrize("windowing", FITS, ids=lambda f: f"{f.side}-{f.overlap}-{f.blend}{'-fixed' * f.fixed}")


@pytest.mark.parametrize(
    "windowing", [f for f in FITS if f != Windowing(side=320, fixed=True)], ids=repr
)  # no slope in a mirror
def test_a_slope_goes_on_whatever_the_size(windowing: Windowing) -> None:
    picture, mask = slope(300, 400), ellipse(300, 400, 210, 150, 130, 90)
    holed = np.where(mask[..., None], np.uint8(255), picture)
    made = filled(holed, mask, Fill(windowing, plane))
    allowed = 8 if windowing.blend == "poisson" else 2  # which only has the sketch where a window ends in the hole
    assert np.abs(made.astype(int) - picture).max() <= allowed


@pytest.mark.parametrize("side", [64, 128])
def test_stripes_go_on_over_the_borders_of_windows(side: int) -> None:
    y, x = np.mgrid[:360, :480]
    picture, mask = stripes(y, x), ellipse(360, 480, 240, 180, 150, 110)
    holed = np.where(mask[..., None], np.uint8(255), picture)
    # A shrunk stripe has no phase of this network's, so the sketch is another one's, with no stripes at all.
    both = lambda windows: stripes_like(windows) if windows[0].mask.shape == (side, side) else flowing(windows)  # noqa: E731
    made = filled(holed, mask, Fill(Windowing(side=side, overlap=16), both))
    light, dark = made[mask & (picture[..., 0] > 100)], made[mask & (picture[..., 0] < 100)]
    assert (light[:, 0] > 120).mean() > 0.97
    assert (dark[:, 0] < 120).mean() > 0.97


@pytest.mark.parametrize("cast", [(30, -20, 10), (-40, -40, -40)])
def test_colours_are_shifted_to_agree_with_the_surroundings(cast: tuple[int, int, int]) -> None:
    picture, mask = slope(300, 400), ellipse(300, 400, 210, 150, 130, 90)
    off = lambda windows: plane(windows, cast, tilt=0.05)  # noqa: E731  # up to 20 levels more on the right
    wrong = filled(picture, mask, Fill(Windowing(colour=False), off)).astype(int) - picture
    right = filled(picture, mask, Fill(Windowing(), off)).astype(int) - picture
    assert np.abs(wrong[mask]).mean() > 15
    assert np.abs(right[mask]).max() <= 4
    assert np.abs(right[mask]).mean() < 2  # one shift for the whole hole would leave 3


@pytest.mark.parametrize("blend", ["feather", "poisson"])
def test_a_border_is_faded_inside_the_hole_only(blend: Literal["feather", "poisson"]) -> None:
    """For networks that say of known pixels just what they were shown: no cast can be measured."""
    picture, mask = slope(300, 400), ellipse(300, 400, 210, 150, 80, 60)

    def off(windows: Sequence[FillWindow]) -> list[Rgb]:
        return [
            np.where(w.mask[..., None], p + 25, w.pixels).astype(np.uint8)
            for w, p in zip(windows, plane(windows), strict=True)
        ]

    rim = mask & ~ellipse(300, 400, 210, 150, 78, 58)
    plain = filled(picture, mask, Fill(Windowing(blend="none"), off)).astype(int) - picture
    faded = filled(picture, mask, Fill(Windowing(blend=blend), off)).astype(int) - picture
    assert plain[rim].mean() > 20
    assert np.abs(faded[rim]).mean() < 10
    assert (faded[~mask] == 0).all()


@fits
def test_what_is_hidden_makes_no_difference(windowing: Windowing) -> None:
    """In the strongest form: not even crops that were not blanked change a byte of the fill."""
    rgb, mask = face()
    rng = np.random.default_rng(1)
    crops = crops_of(rgb, mask, Fill(windowing, flowing, context=1.0))
    other = [c.pixels.copy() for c in crops]
    for crop, pixels in zip(crops, other, strict=True):
        pixels[~crop.known] = rng.integers(0, 256, (int((~crop.known).sum()), 3))
    loaded = WindowedFill(windowing, flowing)
    first = loaded(crops)
    second = loaded([replace(c, pixels=p) for c, p in zip(crops, other, strict=True)])
    for a, b, crop in zip(first, second, crops, strict=True):
        assert (a.pixels[crop.mask] == b.pixels[crop.mask]).all()
        assert (a.pixels[crop.known] == crop.pixels[crop.known]).all()


@pytest.mark.slow
@fits
def test_the_same_bytes_one_by_one_and_all_at_once(windowing: Windowing) -> None:
    rgb, mask = face()
    mask |= ellipse(512, 512, 400, 420, 40, 60) | ellipse(512, 512, 60, 430, 40, 60)
    crops = crops_of(rgb, mask, Fill(windowing, flowing))
    assert len(crops) == 3
    once = WindowedFill(windowing, flowing)(crops)
    again = [patch for crop in crops for patch in WindowedFill(windowing, flowing)([crop])]
    assert all((a.pixels == b.pixels).all() for a, b in zip(once, again, strict=True))


def test_crops_of_one_shape_share_a_call_and_every_window_is_what_the_network_takes() -> None:
    rgb, _ = face()
    mask = (
        ellipse(512, 512, 100, 100, 30, 30) | ellipse(512, 512, 400, 100, 30, 30) | ellipse(512, 512, 250, 400, 60, 9)
    )
    seen = []

    def watching(windows: Sequence[FillWindow]) -> list[Rgb]:
        seen.append([w.mask.shape for w in windows])
        return flowing(windows)

    crops = crops_of(rgb, mask, Fill(Windowing(multiple=32, batch=2), watching))
    WindowedFill(Windowing(multiple=32, batch=2), watching)(crops)
    assert sorted(map(len, seen)) == [1, 2]
    assert all(size % 32 == 0 for shapes in seen for shape in shapes for size in shape)
    seen.clear()
    WindowedFill(Windowing(side=256, fixed=True, batch=8), watching)(crops)
    assert seen == [[(256, 256)] * 3]


def test_a_window_shows_only_what_is_known() -> None:
    rgb, mask = face()
    rgb[mask] = [255, 0, 255]
    shown: list[FillWindow] = []

    def watching(windows: Sequence[FillWindow]) -> list[Rgb]:
        shown.extend(windows)
        return flowing(windows)

    filled(rgb, mask, Fill(Windowing(side=64, overlap=16), watching))
    assert len(shown) > 6
    assert not any((w.pixels == [255, 0, 255]).all(axis=-1).any() for w in shown)
    assert len({w.seed for w in shown}) == len(shown) - 1  # the sketch and nothing else has the crop's


def test_small_parts_of_a_large_crop_are_filled_at_full_size() -> None:
    picture = slope(300, 700)
    mask = ellipse(300, 700, 30, 30, 20, 20) | ellipse(300, 700, 350, 150, 90, 20) | ellipse(300, 700, 660, 270, 30, 20)
    sizes: list[tuple[int, ...]] = []

    def watching(windows: Sequence[FillWindow]) -> list[Rgb]:
        sizes.extend(w.mask.shape for w in windows)
        return plane(windows)

    crops = crops_of(picture, mask, Fill(Windowing(), watching, context=2.0))
    WindowedFill(Windowing(side=256, overlap=32), watching)(crops)
    assert all(max(size) <= 256 for size in sizes)
    assert sum(max(crop.mask.shape) > 256 for crop in crops) >= 1


@pytest.mark.parametrize("blend", ["none", "feather", "poisson"])
def test_nothing_known_and_tiny_images(blend: Literal["none", "feather", "poisson"]) -> None:
    rng = np.random.default_rng(3)
    for windowing in (
        Windowing(side=64, overlap=8, blend=blend),
        Windowing(side=16, overlap=4, fixed=True, blend=blend),
    ):
        for height, width in [(1, 1), (1, 7), (7, 1), (2, 2), (30, 40), (1, 90)]:
            rgb = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
            mask = np.ones((height, width), bool)
            assert (filled(rgb, mask, Fill(windowing, flowing)) == GREY).all()
            mask[0, 0] = False
            assert (filled(rgb, mask, Fill(windowing, flowing))[0, 0] == rgb[0, 0]).all()


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda w: np.zeros((8, 8, 3), np.uint8), r"wrong_shape.*\(64, 64, 3\) uint8, got \(8, 8, 3\) uint8"),
        (lambda w: w.pixels.astype(np.float32), r"wrong_shape.*uint8, got \(64, 64, 3\) float32"),
    ],
)
def test_an_answer_that_is_no_picture_of_the_window_is_refused(
    answer: Callable[[FillWindow], np.ndarray], said: str
) -> None:
    rgb, mask = face()
    with pytest.raises(ImageError, match=said):
        filled(rgb, mask, Fill(Windowing(side=64, overlap=8, fixed=True), lambda windows: [answer(w) for w in windows]))
    with pytest.raises(ImageError, match="wrong_count"):
        filled(rgb, mask, Fill(Windowing(), lambda windows: []))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"side": 15}, "side: expected a whole number from 16 to 4096, got 15"),
        ({"side": 500}, r"side: expected a multiple of 8 \(multiple\), got 500"),
        ({"multiple": 0}, "multiple: expected a whole number from 1 to 256, got 0"),
        ({"overlap": 200}, r"overlap: expected a whole number from 0 to 128 \(a quarter of side\), got 200"),
        ({"feather": -1}, "feather: expected"),
        ({"batch": True}, "batch: expected"),
        ({"fixed": 1}, "fixed: expected true or false, got 1"),
        ({"colour": "no"}, "colour: expected true or false, got 'no'"),
        ({"blend": "soft"}, "blend: expected none, feather or poisson, got 'soft'"),
    ],
)
def test_what_cannot_be_is_named(wrong: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=rf"^fill\.windowing\.{said}"):
        specs.made("fill.windowing", Windowing, **wrong)
