"""How an ONNX file becomes something that can be called: any batch and image size, images of one shape together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
import onnx
from numpy.typing import NDArray

from pipeline.models.batch_size import Batches
from pipeline.models.onnx_session import session
from pipeline.records import Device, Rgb

Floats: TypeAlias = NDArray[np.float32]


class Model:
    """A loaded network with one input, NCHW float32.

    source: an ONNX file, whose fixed sizes become free, or a graph made here, taken as it is.
    outputs: the names of the graph's outputs to compute, in that order. threads: intra-op, on the CPU.
    Raises RefusedError when the device is not there.
    """

    def __init__(self, source: Path | onnx.ModelProto, outputs: Sequence[str], device: Device, threads: int) -> None:
        graph = open_dimensions(source, outputs) if isinstance(source, Path) else source
        self._session = session(graph, device, threads)
        self._outputs = list(outputs)
        self._batches = Batches()
        self._input: str = self._session.get_inputs()[0].name

    def __call__(self, batch: Floats) -> list[Floats]:
        """batch: (n, channels, height, width). One array an output, each with n in front."""
        answers: list[Floats] = self._session.run(self._outputs, {self._input: batch})
        return answers

    def each(
        self, tiles: Sequence[Rgb], prepare: Callable[[Rgb], Floats], batch: int
    ) -> Iterator[tuple[int, list[Floats]]]:
        """Position of each tile and its own answers, without the batch axis, in any order.

        Tiles of the same shape go together, at most `batch` at a time. With 1, an answer never depends on the others.
        Fewer when the memory does not suffice; ImageError (`out_of_memory`) when one is too much.
        """
        alike: dict[tuple[int, ...], list[int]] = {}
        for position, tile in enumerate(tiles):
            alike.setdefault(tile.shape, []).append(position)

        def work(some: Sequence[int]) -> list[Floats]:
            return self(np.stack([prepare(tiles[position]) for position in some]))

        for shape, positions in alike.items():
            for some, answers in self._batches.each(positions, shape, batch, work):
                for row, position in enumerate(some):
                    yield position, [answer[row] for answer in answers]


def open_dimensions(file: Path, outputs: Sequence[str]) -> onnx.ModelProto:
    """The graph in a file, ready for any batch and image size, with only the outputs that are asked for.

    Fixed sizes become free (CenterFace's file says 10x3x32x32 and works with any). Weights that are also listed as
    inputs are taken off that list, so that onnxruntime may fold them; it logs a line for each otherwise.
    """
    model = onnx.load(file, load_external_data=False)  # weights.py let in none that has any
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
