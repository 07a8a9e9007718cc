"""Fills with detail copied from around the hole, weighed by our own small network, which comes with Segfill.

jobs/train_fill.py trained it on photographs that are free to use; MODEL_CARD.md says what it can do. It runs by
onnxruntime; on the CPU the same window gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import numpy_helper

from pipeline.contracts import FillModel
from pipeline.errors import ConfigError
from pipeline.fill.generative.network_input import CHANNELS, MULTIPLE, network_input
from pipeline.fill.shared.network_fill import NetworkFill, pictures
from pipeline.fill.shared.onnx_network import FLOAT, Graph, Plane, read
from pipeline.fill.shared.windows import FillWindow, WindowedFill
from pipeline.records import Device, Floats, Rgb
from pipeline.spec import spec


@spec
class Generative(NetworkFill):
    """Runs generative.onnx, or what a training of yours exported, on windows of any size by eights."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.windowing.multiple % MULTIPLE:
            raise ConfigError(
                f"fill.windowing.multiple: expected a multiple of {MULTIPLE}, got {self.windowing.multiple}"
            )

    def check(self) -> None:
        """Raises ConfigError when the file has other inputs or another output, or weights that are not finite."""
        for tensor in onnx.load(self._graph().file).graph.initializer:
            if not np.isfinite(numpy_helper.to_array(tensor)).all():
                raise ConfigError(
                    f"fill.model: {tensor.name}: expected finite numbers; the file is damaged or training diverged"
                )

    def load(self, device: Device, threads: int) -> FillModel:
        network = self._graph().load(device, threads)

        def paint(windows: Sequence[FillWindow]) -> Sequence[Rgb]:
            answer = network((inputs(windows),))
            return pictures((np.asarray(answer, np.float32) + 1) * np.float32(127.5), windows)

        return WindowedFill(self.windowing, paint)

    def _graph(self) -> Graph:
        window, painted = Plane(channels=CHANNELS, kind=FLOAT), Plane(channels=3, kind=FLOAT)
        return read(self.model, self.windowing, (window,), output=painted)


def inputs(windows: Sequence[FillWindow]) -> Floats:
    """(n, CHANNELS, h, w) of windows of one shape, as `network_input` makes them."""
    return np.stack([network_input(each.pixels, each.mask) for each in windows])
