"""Torch networks on one device, in batches, with answers as numpy arrays.

Imports torch, so segmenters import it only when they load.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, TypeAlias, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch.nn import functional

from pipeline.errors import ImageError, WeightsError, one_line
from pipeline.models.batch_size import Batches
from pipeline.models.prefetch import prefetch
from pipeline.models.torch_device import PREFETCH, PendingArrays, infer, prepare_module, to_device, torch_device
from pipeline.models.torch_options import TorchOptions
from pipeline.records import Device, Floats, Rgb
from pipeline.segment.shared.class_map import ClassMap, Ids
from pipeline.segment.shared.preprocess import Preprocess
from pipeline.segment.shared.torch_resize import resized

Answer = TypeVar("Answer")
Scores: TypeAlias = Callable[[torch.nn.Module, torch.Tensor], torch.Tensor]
"""Calls a network: (n, 3, h, w) to the scores of classes, (n, classes, any height, any width)."""

_CLASSES_AT_ONCE: Final = 8
"""Classes enlarged together, so that memory does not grow with their number."""


class Net:
    """A network on its device. Raises RefusedError when the device is missing. threads: intra-op, on the CPU."""

    def __init__(self, module: torch.nn.Module, device: Device, threads: int, options: TorchOptions) -> None:
        self.device = torch_device(device, threads)
        self.options = options
        self.sizes = Batches()
        self.prefetch = PREFETCH if self.device.type == "cuda" else 0
        self._normal: dict[Preprocess, tuple[torch.Tensor, torch.Tensor]] = {}
        self.module = prepare_module(module, self.device, options)

    def prepared(self, tile: Rgb, how: Preprocess) -> torch.Tensor:
        """The network's input for one tile: HWC uint8 to (3, height, width) float32."""
        pixels = to_device(tile, torch.uint8, self.device).permute(2, 0, 1)
        pixels = resized(pixels, how.size(*tile.shape[:2]), how.resample)
        if how.pad:
            height, width = pixels.shape[1:]
            pixels = functional.pad(pixels, (0, max(0, how.pad - width), 0, max(0, how.pad - height)))
        if how not in self._normal:  # a copy for each image would make the GPU wait
            self._normal[how] = (_column(how.mean, self.device), _column(how.std, self.device))
        mean, std = self._normal[how]
        return (pixels / how.scale - mean) / std

    def run(self, call: Callable[[torch.nn.Module], Answer]) -> Answer:
        """The result of `call` on the network, without gradients, at the precision of the options."""
        return infer(self.device, self.options, lambda: call(self.module))

    def answers(
        self, tiles: Sequence[Rgb], how: Preprocess, call: Callable[[torch.nn.Module, torch.Tensor], Answer]
    ) -> Iterator[tuple[Sequence[int], Answer]]:
        """Yield positions and the answer of `call` to (n, 3, h, w) of tiles that the network sees at the same size, at
        most `batch` at a time, fewer when memory runs out. With a batch of 1, an answer never depends on other tiles.
        Raises ImageError (`out_of_memory`)."""
        for size, positions in by_size(tiles, how).items():
            yield from self.sizes.each(
                positions,
                size,
                self.options.batch,
                lambda some: self.run(lambda module: call(module, self.stacked([tiles[i] for i in some], how))),
            )

    def batches(self, tiles: Sequence[Rgb], how: Preprocess) -> Iterator[tuple[list[int], torch.Tensor]]:
        """Yield positions and (n, 3, h, w), as for `answers`; for callers that call the network several times."""
        for positions in by_size(tiles, how).values():
            for start in range(0, len(positions), self.options.batch):
                some = positions[start : start + self.options.batch]
                yield some, self.stacked([tiles[position] for position in some], how)

    def stacked(self, tiles: Sequence[Rgb], how: Preprocess) -> torch.Tensor:
        """(n, 3, h, w) of tiles that the network sees at the same size."""
        batch = torch.stack([self.prepared(tile, how) for tile in tiles])
        layout = torch.channels_last if self.options.channels_last else torch.contiguous_format
        return batch.contiguous(memory_format=layout)


def _column(three: Sequence[float], device: torch.device) -> torch.Tensor:
    return torch.tensor(three, dtype=torch.float32, device=device).view(3, 1, 1)


def by_size(tiles: Sequence[Rgb], how: Preprocess) -> dict[tuple[int, int], list[int]]:
    """Each size (height, width) at which a network sees tiles, and the positions of these tiles."""
    found: dict[tuple[int, int], list[int]] = {}
    for position, tile in enumerate(tiles):
        found.setdefault(how.size(*tile.shape[:2]), []).append(position)
    return found


class ClassNet:
    """A network whose scores are the logits of classes that exclude each other."""

    def __init__(self, net: Net, how: Preprocess, logits: Scores) -> None:
        self._net, self._how, self._logits = net, how, logits

    def each(self, tiles: Sequence[Rgb], sizes: Sequence[tuple[int, int]]) -> Iterator[tuple[int, ClassMap]]:
        """Yield the position of each tile and the best class at each pixel of a map of its size (height, width), in any
        order. Raises ImageError (`nan_scores`)."""
        answers = self._net.answers(tiles, self._how, self._logits)
        found = (
            (position, winners(answer.float(), sizes[position]))
            for positions, batch in answers
            for position, answer in zip(positions, batch, strict=True)
        )
        return prefetch(found, self._net.prefetch)


def winners(logits: torch.Tensor, size: tuple[int, int]) -> PendingArrays[ClassMap]:
    """`class_map.winners` on the device: the best class of logits (classes, h, w) at each pixel of `size`. The call of
    the result raises ImageError (`nan_scores`)."""
    best = logits.new_full(size, -torch.inf)
    total = logits.new_zeros(size)
    ids = torch.zeros(size, dtype=torch.int32, device=logits.device)
    for first in range(0, len(logits), _CLASSES_AT_ONCE):
        large = enlarged(logits[first : first + _CLASSES_AT_ONCE], size)
        top, which = large.max(0)
        ids = torch.where(top > best, which.int() + first, ids)
        higher = torch.maximum(best, top)
        total = total * (best - higher).exp() + (large - higher).exp().sum(0)
        best = higher
    return PendingArrays(class_map, torch.isfinite(logits).all(), ids, total.reciprocal())


def class_map(fine: NDArray[np.bool_], ids: Ids, scores: Floats) -> ClassMap:
    """A map of classes. fine: () bool, whether the scores are finite. Raises ImageError (`nan_scores`) when not."""
    _check(bool(fine))
    return ClassMap(ids=ids, scores=scores)


def enlarged(planes: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Resize (n, h, w) to `size` (height, width), bilinear between pixel centres."""
    return functional.interpolate(planes[None], size=size, mode="bilinear", align_corners=False)[0]


def finite(*answers: torch.Tensor) -> None:
    """Raise ImageError (`nan_scores`) for NaN or infinity: a failed computation must not pass as an empty result."""
    _check(all(bool(torch.isfinite(answer).all()) for answer in answers))


def _check(fine: bool) -> None:
    if not fine:
        raise ImageError("nan_scores", "the model answered with numbers that are not finite; try precision=float32")


def fill_in(module: torch.nn.Module, file: Path) -> torch.nn.Module:
    """Load a .safetensors file into a network. Raises WeightsError when it holds another network."""
    state = _read(file)
    _check_fits(module, state, file)
    module.load_state_dict(state, assign=True)
    return module


def check_file(module: torch.nn.Module, file: Path) -> None:
    """Raise WeightsError when the file does not hold this network."""
    _check_fits(module, _read(file), file)


def _check_fits(module: torch.nn.Module, state: Mapping[str, torch.Tensor], file: Path) -> None:
    wanted, found = ({name: tuple(one.shape) for name, one in of.items()} for of in (module.state_dict(), state))
    for name in sorted(wanted.keys() | found.keys()):
        if wanted.get(name) != found.get(name):
            expected, got = (str(shapes.get(name, "nothing")) for shapes in (wanted, found))
            raise WeightsError(
                f"{file.name} does not fit the network of this config: {name}: expected {expected}, got {got}; correct "
                "its width, depth, stride or names"
            )


def _read(file: Path) -> dict[str, torch.Tensor]:
    try:
        found: dict[str, torch.Tensor] = load_file(file)
    except Exception as error:  # safetensors raises exceptions of its own
        raise WeightsError(f"{file.name}: not a readable .safetensors file: {one_line(error)}") from error
    if not all(bool(torch.isfinite(value).all()) for value in found.values()):
        raise WeightsError(f"{file.name}: a weight is not finite")
    return found
