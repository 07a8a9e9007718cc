"""Fills with what is copied from around the hole, weighed by our own small network, whose weights come with Segfill.
MODEL_CARD.md says what they can do.

The network was trained by jobs/train_fill.py on photographs that are free to use. It runs by onnxruntime; on the CPU
the same window gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import onnx

from pipeline.contracts import FillModel
from pipeline.errors import ConfigError
from pipeline.fill.generative.layout import MULTIPLE, window
from pipeline.fill.generative.onnx_net import INPUT, OUTPUT, graph, read
from pipeline.fill.shared.network_fill import NetworkFill, pictures
from pipeline.fill.shared.windows import FillWindow, WindowedFill
from pipeline.models.onnx_session import session
from pipeline.records import Device, Floats, Rgb
from pipeline.spec import spec


@spec
class Generative(NetworkFill):
    """The fill. Its windows are of any size by eights (`fit.multiple`)."""

    suffixes: ClassVar[tuple[str, ...]] = (".safetensors",)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.windowing.multiple % MULTIPLE:
            raise ConfigError(
                f"fill.windowing.multiple: expected a multiple of {MULTIPLE}, got {self.windowing.multiple}"
            )

    def check(self) -> None:
        """Raises ConfigError when the weights are another network's."""
        self._graph()

    def load(self, device: Device, threads: int) -> FillModel:
        network = session(self._graph(), device, threads)

        def paint(windows: Sequence[FillWindow]) -> Sequence[Rgb]:
            (answer,) = network.run([OUTPUT], {INPUT: inputs(windows)})
            return pictures((np.asarray(answer, np.float32) + 1) * np.float32(127.5), windows)

        return WindowedFill(self.windowing, paint)

    def _graph(self) -> onnx.ModelProto:
        return graph(read(self.model.fetch()))


def inputs(windows: Sequence[FillWindow]) -> Floats:
    """(n, CHANNELS, h, w): as `generative_plan.window` makes them."""
    return np.stack([window(each.pixels, each.mask) for each in windows])
