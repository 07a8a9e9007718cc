"""Facts that only a GPU can show: no needless wait for it, and answers equal to the CPU's."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
import torch

from pipeline.models.torch_device import PREFETCH, PendingArrays, to_device
from pipeline.models.torch_options import TorchOptions
from pipeline.segment.nets.unet import UNet
from pipeline.segment.shared.class_map import ClassMap
from pipeline.segment.shared.onnx_runner import Model
from pipeline.segment.shared.preprocess import Preprocess
from pipeline.segment.shared.torch_runner import ClassNet, Net, winners
from tests.fakes.drawn_images import drawing
from tests.fakes.onnx_segmenter import network as onnx_network

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")

CUDA = torch.device("cuda")
TILES = [drawing(seed, 96 + 32 * (seed % 2), 128)[0] for seed in range(21)]
SIZES = [tile.shape[:2] for tile in TILES]


def net(device: str, **options: object) -> Net:
    torch.manual_seed(0)
    return Net(UNet(classes=3, width=8, depth=2), device, 1, TorchOptions(**options))  # type: ignore[arg-type]


def ask(module: torch.nn.Module, batch: torch.Tensor) -> torch.Tensor:
    answer: torch.Tensor = module(batch)
    return answer


def found(one: Net) -> dict[int, ClassMap]:
    return dict(ClassNet(one, Preprocess(), ask).each(TILES, SIZES))


def alike(one: dict[int, ClassMap], other: dict[int, ClassMap]) -> float:
    """Fraction of pixels with the same class."""
    return float(np.mean([(one[position].ids == other[position].ids).mean() for position in range(len(TILES))]))


@contextmanager
def no_waiting() -> Iterator[None]:
    """Raise where this thread would wait for the GPU."""
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_what_comes_back_is_whole_however_long_the_gpu_takes() -> None:
    values = np.arange(1 << 20, dtype=np.float32)
    busy = torch.rand(4096, 4096, device=CUDA)
    for _ in range(50):
        busy = busy @ busy / 4096
    late = PendingArrays(lambda one: one, to_device(values, torch.float32, CUDA) * 2 + busy[0, 0] * 0)
    assert all(tensor.is_pinned() for tensor in late._host)
    np.testing.assert_array_equal(late(), values * 2)


@pytest.mark.parametrize(
    "options",
    [{}, {"precision": "bfloat16", "channels_last": True}, {"precision": "float16"}, {"compile": True, "batch": 4}],
)
def test_a_gpu_finds_what_the_cpu_finds(options: dict[str, object]) -> None:
    assert alike(found(net("cuda", batch=8) if not options else net("cuda", **options)), found(net("cpu"))) > 0.98


def test_being_ahead_changes_no_answer() -> None:
    one = net("cuda", batch=4)
    assert one.prefetch == PREFETCH > 0
    prefetch = found(one)
    one.prefetch = 0
    assert alike(prefetch, found(one)) == 1.0


def test_batches_are_asked_and_answered_without_waiting() -> None:
    one = net("cuda", batch=4, precision="bfloat16")
    found(one)  # the first time, constants are copied
    late = []
    with no_waiting():
        for _, answers in one.answers(TILES, Preprocess(), ask):
            late += [winners(answer.float(), (96, 128)) for answer in answers]
    assert all(set(np.unique(one().ids)) <= {0, 1, 2} for one in late)


def test_out_of_memory_halves_the_batch_and_every_image_has_its_answer() -> None:
    tiles = [np.zeros((512, 512, 3), np.uint8)] * 64
    one = net("cuda", batch=64)
    share = 1.5 * (1 << 30) / torch.cuda.get_device_properties(CUDA).total_memory
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(share)
    try:
        positions = [p for some, _ in one.answers(tiles, Preprocess(), ask) for p in some]
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert positions == list(range(64))
    assert 1 <= one.sizes._fits[(512, 512)] < 64


@pytest.mark.skipif("CUDAExecutionProvider" not in ort.get_available_providers(), reason="onnxruntime without CUDA")
def test_an_onnx_network_answers_on_the_gpu_as_on_the_cpu(tmp_path: Path) -> None:
    file = onnx_network(tmp_path / "a.onnx", "logits", "nchw")
    batch = np.random.default_rng(0).normal(size=(2, 3, 96, 128)).astype(np.float32)
    names = [output.name for output in ort.InferenceSession(file, providers=["CPUExecutionProvider"]).get_outputs()]
    (here,), (there,) = (Model(file, names, device, 1)(batch) for device in ("cpu", "cuda"))
    np.testing.assert_allclose(there, here, rtol=1e-2, atol=1e-2)
