"""Fills with a small and fast network: MI-GAN (Sargsyan et al., A Simple Baseline for Image Inpainting on Mobile
Devices, 2023), as its authors' ONNX pipeline or as the bare generator.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from pipeline.contracts import FillModel
from pipeline.errors import ConfigError
from pipeline.fill.shared.network_fill import NetworkFill, pictures, planes
from pipeline.fill.shared.onnx_network import FLOAT, UINT8, Graph, Plane, read
from pipeline.fill.shared.windows import FillWindow, WindowedFill
from pipeline.records import Device, Rgb
from pipeline.spec import spec


@spec
class Migan(NetworkFill):
    """Runs a file as scripts/create_onnx_pipeline.py of github.com/Picsart-AI-Research/MI-GAN makes it.

    `pipeline` (migan_pipeline_v2.onnx): image (1, 3, h, w) and mask (1, 1, h, w) uint8, where 255 is known and 0 is to
    be painted; it crops around the hole, works at 512 x 512 and pastes the known pixels back.
    `generator`: one input (n, 4, h, w) float32: 0.5 where known, else -0.5, then RGB of -1..1, 0 where it is to be
    painted; it answers RGB of -1..1.
    """

    form: Literal["pipeline", "generator"] = "pipeline"
    """What the file is: the authors' whole pipeline, or the bare network, which takes batches."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.form == "pipeline" and self.windowing.batch != 1:
            raise ConfigError(
                f"fill.windowing.batch: expected 1 with form=pipeline, which cuts one box for all windows, got "
                f"{self.windowing.batch}"
            )

    def check(self) -> None:
        """Raises ConfigError when the file has other inputs or another output."""
        self._graph()

    def load(self, device: Device, threads: int) -> FillModel:
        network = self._graph().load(device, threads)

        def pipeline(windows: Sequence[FillWindow]) -> Sequence[Rgb]:
            pixels, masks = planes(windows)
            return pictures(network((pixels, np.where(masks, 0, 255).astype(np.uint8))), windows)

        def generator(windows: Sequence[FillWindow]) -> Sequence[Rgb]:
            pixels, masks = planes(windows)
            known = 1 - masks.astype(np.float32)
            image = (pixels.astype(np.float32) / np.float32(127.5) - 1) * known
            answer = network((np.concatenate([known - np.float32(0.5), image], axis=1),))
            return pictures((np.asarray(answer, np.float32) + 1) * np.float32(127.5), windows)

        return WindowedFill(self.windowing, pipeline if self.form == "pipeline" else generator)

    def _graph(self) -> Graph:
        if self.form == "pipeline":
            inputs = (Plane(channels=3, kind=UINT8), Plane(channels=1, kind=UINT8))
            return read(self.model, self.windowing, inputs, output=Plane(channels=3, kind=UINT8))
        return read(self.model, self.windowing, (Plane(channels=4, kind=FLOAT),), output=Plane(channels=3, kind=FLOAT))
