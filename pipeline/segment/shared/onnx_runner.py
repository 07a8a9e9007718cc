"""ONNX networks for any batch and image size; images of one shape go together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import onnx

from pipeline.models.batch_size import Batches
from pipeline.models.onnx_session import session
from pipeline.records import Device, Floats, Rgb


class Model:
    """A loaded network with one input, NCHW float32.

    source: an ONNX file, whose fixed sizes become free, or a graph, taken as it is. outputs: names of the outputs to
    compute, in that order. threads: intra-op, on the CPU. Raises RefusedError when the device is missing.
    """

    def __init__(self, source: Path | onnx.ModelProto, outputs: Sequence[str], device: Device, threads: int) -> None:
        graph = open_dimensions(source, outputs) if isinstance(source, Path) else source
        self._session = session(graph, device, threads)
        self._outputs = list(outputs)
        self._batches = Batches()
        self._input: str = self._session.get_inputs()[0].name

    def __call__(self, batch: Floats) -> list[Floats]:
        """Run a batch (n, channels, height, width). Returns one array per output, each with n in front."""
        answers: list[Floats] = self._session.run(self._outputs, {self._input: batch})
        return answers

    def each(
        self, tiles: Sequence[Rgb], prepare: Callable[[Rgb], Floats], batch: int
    ) -> Iterator[tuple[int, list[Floats]]]:
        """Yield the position of each tile and its answers, without the batch axis, in any order.

        Tiles of one shape go together, at most `batch` at a time, fewer when memory runs out. With a batch of 1, an
        answer never depends on other tiles. Raises ImageError (`out_of_memory`) when a single tile is too much.
        """
        by_shape: dict[tuple[int, ...], list[int]] = {}
        for position, tile in enumerate(tiles):
            by_shape.setdefault(tile.shape, []).append(position)

        def work(some: Sequence[int]) -> list[Floats]:
            return self(np.stack([prepare(tiles[position]) for position in some]))

        for shape, positions in by_shape.items():
            for some, answers in self._batches.each(positions, shape, batch, work):
                for row, position in enumerate(some):
                    yield position, [answer[row] for answer in answers]


def open_dimensions(file: Path, outputs: Sequence[str]) -> onnx.ModelProto:
    """The graph of a file for any batch and image size, reduced to some outputs.

    Fixed sizes become free (CenterFace's file says 10x3x32x32 and works with any). Weights that are also listed as
    inputs leave that list, so that onnxruntime folds them and logs no warning for each.
    """
    model = onnx.load(file, load_external_data=False)  # weights.py refuses external data
    graph = model.graph
    weights = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in weights]
    wanted = {value.name: value for value in graph.output}
    kept = [wanted[name] for name in outputs]
    for value in (*inputs, *kept):
        for axis, dim in enumerate(value.type.tensor_type.shape.dim):
            if axis != 1:
                dim.dim_param = f"{value.name}_{axis}"
    del graph.input[:], graph.output[:], graph.value_info[:]
    graph.input.extend(inputs)
    graph.output.extend(kept)
    return model
