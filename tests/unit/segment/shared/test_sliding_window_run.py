"""Blended tiles: every pixel counts once, and the result is that of the whole image where the overlap covers the
network's receptive field."""

from itertools import product

import numpy as np
import pytest
import torch

from pipeline.errors import ConfigError, ImageError
from pipeline.image.view import Tiles, ViewSpec
from pipeline.models.torch_options import TorchOptions
from pipeline.records import Tile, View
from pipeline.segment.shared.preprocess import Preprocess
from pipeline.segment.shared.sliding_window import SlidingWindow
from pipeline.segment.shared.sliding_window_run import SlidingWindowModel, blend_tiles
from pipeline.segment.shared.torch_runner import Net, Scores
from pipeline.segment.shared.torch_scorer import TorchScorer
from tests.fakes.specs import made


class Tag:
    tag = "net"


class Bright(torch.nn.Module):
    """Logits of two classes, dark and bright, from a mean over 5 x 5 pixels."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mean = torch.nn.functional.avg_pool2d(x.mean(1, keepdim=True), 5, 1, 2, count_include_pad=False)
        return torch.cat([0.5 - mean, mean - 0.5], 1) * 10


def view_of(pixels: np.ndarray, spec: ViewSpec) -> View:
    height, width = pixels.shape[:2]
    tiles = []
    for window in spec.windows(height, width):
        x, y = int(window.box[0]), int(window.box[1])
        tiles.append(Tile(pixels=pixels[y : y + window.height, x : x + window.width], box=window.box))
    return View(image_id="i", height=height, width=width, tiles=tuple(tiles))


def loaded(sliding_window: SlidingWindow, batch: int = 1) -> SlidingWindowModel[torch.Tensor]:
    net = Net(Bright(), "cpu", 1, TorchOptions(batch=batch))
    how = Preprocess(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    return SlidingWindowModel(TorchScorer(net, how, ask, sliding_window), sliding_window, ("dark", "bright"), Tag())


def ask(module: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
    return module(x)  # type: ignore[no-any-return]


def scorer(net: Net, sliding_window: SlidingWindow, scores: Scores = ask) -> TorchScorer:
    return TorchScorer(net, Preprocess(), scores, sliding_window)


PLAIN = scorer(Net(Bright(), "cpu", 1, TorchOptions()), SlidingWindow())


def photo(height: int, width: int) -> np.ndarray:
    coarse = np.random.default_rng(0).integers(0, 256, (height // 8 + 1, width // 8 + 1, 1)).astype(np.uint8)
    return np.repeat(np.kron(coarse[:, :, 0], np.ones((8, 8), np.uint8))[:height, :width, None], 3, axis=2)


@pytest.mark.parametrize(("height", "width"), [(64, 64), (65, 64), (200, 333), (97, 300), (40, 200), (161, 129)])
def test_constant_logits_stay_what_they_are_and_every_pixel_comes_once(height: int, width: int) -> None:
    spec = Tiles(side=64, overlap=16)
    view = view_of(np.zeros((height, width, 3), np.uint8), spec)
    tops, lefts = (sorted({int(tile.box[axis]) for tile in view.tiles}) for axis in (1, 0))
    shape = view.tiles[0].pixels.shape[:2]
    ones = (torch.ones(1, *shape) for _ in view.tiles)
    sums = np.zeros((height, width))
    for top, left, block in blend_tiles(PLAIN, ones, tops, lefts, view, 16):
        sums[top : top + block.shape[1], left : left + block.shape[2]] += block[0].numpy()
    np.testing.assert_allclose(sums, 1, rtol=1e-6)


@pytest.mark.parametrize(("height", "width"), [(64, 64), (200, 333), (65, 64), (40, 200), (161, 129)])
def test_where_tiles_agree_the_blend_is_the_whole(height: int, width: int) -> None:
    """Logits that depend on the place in the image only: blending must put each tile where it belongs."""
    field = np.random.default_rng(0).normal(size=(3, height, width)).astype(np.float32)
    view = view_of(np.zeros((height, width, 3), np.uint8), Tiles(side=64, overlap=16))
    tops, lefts = (sorted({int(tile.box[axis]) for tile in view.tiles}) for axis in (1, 0))
    high, wide = view.tiles[0].pixels.shape[:2]
    pieces = (torch.from_numpy(field[:, y : y + high, x : x + wide]) for y, x in product(tops, lefts))
    found = np.full_like(field, np.nan)
    for top, left, block in blend_tiles(PLAIN, pieces, tops, lefts, view, 16):
        found[:, top : top + block.shape[1], left : left + block.shape[2]] = block.numpy()
    np.testing.assert_allclose(found, field, atol=1e-5)


def test_tiles_find_what_the_whole_image_shows() -> None:
    pixels = photo(300, 421)
    (whole,) = loaded(SlidingWindow(flip=False))([view_of(pixels, Tiles(side=512, overlap=16))])
    (tiled,) = loaded(SlidingWindow(overlap=16))([view_of(pixels, Tiles(side=64, overlap=16))])
    assert [s.label for s in tiled.segments] == ["dark", "bright"]
    assert [s.area for s in tiled.segments] == pytest.approx([s.area for s in whole.segments], rel=0.01)
    assert [s.score for s in tiled.segments] == pytest.approx([s.score for s in whole.segments], abs=0.01)
    assert loaded(SlidingWindow(overlap=16))([view_of(pixels, Tiles(side=64, overlap=16))]) == [tiled]
    assert loaded(SlidingWindow(overlap=16), batch=4)([view_of(pixels, Tiles(side=64, overlap=16))])[0].segments[
        0
    ].rle == (tiled.segments[0].rle)


def test_flip_finds_the_mirror_image_of_what_it_finds_in_the_image() -> None:
    pixels = photo(80, 120)
    plain, mirrored = (
        loaded(SlidingWindow(flip=True, scales=(0.5, 1.0, 1.5)))([view_of(p, Tiles(side=512, overlap=0))])[0]
        for p in (pixels, pixels[:, ::-1].copy())
    )
    assert [s.area for s in mirrored.segments] == pytest.approx([s.area for s in plain.segments], abs=40)


def test_scales_average_the_logits() -> None:
    """A network that answers with the share of its own size: the mean over scales must show."""

    class Wide(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.stack([x.new_full(x.shape[2:], x.shape[3] / 100.0), x.new_full(x.shape[2:], 0.9)])[None]

    net = Net(Wide(), "cpu", 1, TorchOptions())
    view = view_of(np.zeros((80, 100, 3), np.uint8), Tiles(side=512, overlap=0))
    for scales, winner in (((1.0,), "first"), ((0.5, 1.0), "second"), ((0.5, 1.0, 2.0), "first")):
        model = SlidingWindowModel(
            scorer(net, SlidingWindow(scales=scales)), SlidingWindow(scales=scales), ("first", "second"), Tag()
        )
        assert [s.label for s in model([view])[0].segments] == [winner]


def test_nan_anywhere_rejects_the_image() -> None:
    net = Net(torch.nn.Identity(), "cpu", 1, TorchOptions())
    calls = iter([0.0] * 7 + [float("nan")] + [0.0] * 100)
    sliding_window = SlidingWindow(overlap=16)
    model = SlidingWindowModel(
        scorer(net, sliding_window, lambda _, x: x[:, :2] + next(calls)), sliding_window, ("a", "b"), Tag()
    )
    with pytest.raises(ImageError, match="finite"):
        model([view_of(photo(200, 200), Tiles(side=64, overlap=16))])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"overlap": -1}, r"sliding_window\.overlap: expected a whole number from 0 to 8192, got -1"),
        ({"scales": []}, r"sliding_window\.scales: expected a list of at least 1, each a number from 0\.125 to 8, got"),
        ({"scales": [0.0]}, r"sliding_window\.scales\[0\]: expected .* got 0\.0"),
        ({"flip": 1}, r"sliding_window\.flip: expected true or false, got 1"),
    ],
)
def test_a_value_that_cannot_work_is_named(values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=rf"^segment\.unet\.{message}"):
        made("segment.unet.sliding_window", SlidingWindow, **values)


def test_tiles_that_cannot_work_are_named() -> None:
    with pytest.raises(ConfigError, match=r"^sliding_window\.overlap: expected at most half of side=64, got 40"):
        SlidingWindow(overlap=40).view(64, 32)
    with pytest.raises(ConfigError, match=r"^height: expected a multiple of 32 for tiles, got 65"):
        SlidingWindow(overlap=8).view(65, 32, "height")
