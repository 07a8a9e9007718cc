"""Out of memory: half as many at once from then on, and an answer for every image."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch

from pipeline.errors import ImageError
from pipeline.image.view import Tiles
from pipeline.models.batch_size import Batches, is_out_of_memory
from pipeline.models.torch_options import TorchOptions
from pipeline.records import Floats, Tile, View
from pipeline.segment.shared.class_map import NetworkModel, class_segments
from pipeline.segment.shared.onnx_runner import Model
from pipeline.segment.shared.preprocess import Preprocess
from pipeline.segment.shared.sliding_window import SlidingWindow
from pipeline.segment.shared.sliding_window_run import SlidingWindowModel
from pipeline.segment.shared.torch_runner import ClassNet, Net
from pipeline.segment.shared.torch_scorer import TorchScorer


class Tag:
    tag = "net"


class Short(torch.nn.Module):
    """Two classes, dark and bright; memory for `most` images."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most, self.seen = most, list[int]()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.seen.append(len(x))
        if len(x) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return torch.stack([-x[:, 0], x[:, 0]], 1)


def views(count: int, side: int = 8) -> list[View]:
    """One bright, one dark, and so on."""
    box = (0.0, 0.0, float(side), float(side))
    return [
        View(
            image_id=str(number),
            height=side,
            width=side,
            tiles=(Tile(pixels=np.full((side, side, 3), 255 * (number % 2), np.uint8), box=box),),
        )
        for number in range(count)
    ]


@pytest.mark.promise("Out of memory halves the batch and loses no image")
def test_a_network_out_of_memory_answers_for_every_image_and_remembers() -> None:
    module = Short(most=3)
    net = Net(module, "cpu", 1, TorchOptions(batch=16))
    loaded = NetworkModel(
        ClassNet(net, Preprocess(), lambda m, x: m(x)).each, class_segments, ("dark", "bright"), Tag()
    )
    for _ in range(2):
        found = loaded(views(21))
        assert [one.image_id for one in found] == [str(number) for number in range(21)]
        assert [one.segments[0].label for one in found] == ["dark", "bright"] * 10 + ["dark"]
    assert module.seen == [16, 8, 4, *[2] * 10, 1, *[2] * 10, 1]


@pytest.mark.promise("Out of memory halves the batch and loses no image")
def test_tiles_out_of_memory_are_the_same_tiles() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (100, 170, 3)).astype(np.uint8)
    windows = Tiles(side=32, overlap=8).windows(100, 170)
    tiles = [Tile(pixels=pixels[int(w.box[1]) :, int(w.box[0]) :][: w.height, : w.width], box=w.box) for w in windows]
    view = View(image_id="i", height=100, width=170, tiles=tuple(tiles))
    found = []
    for most, batch in ((1 << 20, 1), (3, 16)):
        net = Net(Short(most), "cpu", 1, TorchOptions(batch=batch))
        sliding_window = SlidingWindow(overlap=8, flip=True)
        found += SlidingWindowModel(
            TorchScorer(net, Preprocess(), lambda m, x: m(x), sliding_window), sliding_window, ("dark", "bright"), Tag()
        )([view])
    assert found[0] == found[1]


@pytest.mark.promise("Out of memory halves the batch and loses no image")
def test_onnxruntime_out_of_memory_answers_for_every_image() -> None:
    class ShortModel(Model):
        """What onnxruntime says when its arena is full; it has no type of its own for it."""

        def __init__(self) -> None:
            self._batches = Batches()
            self.seen: list[int] = []

        def __call__(self, batch: Floats) -> list[Floats]:
            self.seen.append(len(batch))
            if len(batch) > 2:
                raise RuntimeError(
                    "[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Non-zero status code returned while running Conv. "
                    "bfc_arena.cc:376 Failed to allocate memory for requested buffer of size 104857600"
                )
            return [batch.mean(axis=(1, 2, 3))]

    model = ShortModel()
    tiles = [np.full((4 + number % 2, 4, 3), number, np.uint8) for number in range(9)]
    answers = dict(model.each(tiles, lambda tile: tile.astype(np.float32), 8))
    assert {position: float(answer) for position, (answer,) in answers.items()} == {n: float(n) for n in range(9)}
    assert model.seen == [5, 2, 2, 1, 4, 2, 2]


def test_one_image_too_large_is_rejected_and_other_errors_go_through() -> None:
    def work(some: Sequence[int]) -> int:
        raise MemoryError("no more")

    with pytest.raises(ImageError, match="one image of"):
        list(Batches().each(range(4), (8, 8), 4, work))

    def broken(some: Sequence[int]) -> int:
        raise RuntimeError("no kernel")

    with pytest.raises(RuntimeError, match="no kernel"):
        list(Batches().each(range(4), (8, 8), 4, broken))


def test_a_shape_that_fits_is_not_held_back_by_one_that_does_not() -> None:
    batches = Batches()

    def work(some: Sequence[int]) -> int:
        if len(some) > 1:
            raise MemoryError
        return len(some)

    assert len(list(batches.each(range(4), "large", 4, work))) == 4
    assert len(list(batches.each(range(4), "small", 4, len))) == 1


@pytest.mark.parametrize(
    "said",
    [
        "DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes",
        "CUDA error: out of memory",
        "std::bad_alloc",
        "CUDNN failure 4: CUDNN_STATUS_ALLOC_FAILED",
        "GET was unable to find an engine to execute this computation",
        "[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : ... CUDA failure 2: out of memory ; GPU=0 ; hostname=h",
    ],
)
def test_what_runtimes_say(said: str) -> None:
    assert is_out_of_memory(RuntimeError(said))
