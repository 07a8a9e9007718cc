"""Fills large holes by repeating structure: LaMa (Suvorov et al., Resolution-robust Large Mask Inpainting with Fourier
Convolutions, 2022), as the ONNX export of Carve or, where the config allows it, as TorchScript.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, ClassVar, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pipeline.contracts import FillModel
from pipeline.errors import ConfigError, one_line
from pipeline.fill.shared.network_fill import NetworkFill, pictures, planes
from pipeline.fill.shared.onnx_network import FLOAT, Plane, read
from pipeline.fill.shared.windows import FillWindow, WindowedFill
from pipeline.models.torch_options import need
from pipeline.records import Device, Floats, Rgb
from pipeline.spec import spec

Network: TypeAlias = Callable[[Sequence[Floats]], NDArray[np.generic]]
"""(n, 3, h, w) image of 0..1, black where it is to be painted, and (n, 1, h, w) mask, 1 = paint -> (n, 3, h, w)."""

_NEAR: Final = 8.0
"""A probe's answer may be this many times too bright or too dark, which is far from the factor 255 between the two
scales."""


@spec
class Lama(NetworkFill):
    """Runs big-lama as ONNX or TorchScript."""

    white: Annotated[float, Field(ge=1e-3, le=1e6)] = 255.0
    """What the network answers for white: 255 (Carve's export) or 1 (big-lama.pt)."""
    allow_torchscript: bool = False
    """Has to be true for a TorchScript file, which is a program that runs with your rights."""

    suffixes: ClassVar[tuple[str, ...]] = (".onnx", ".pt")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.model.path.suffix.lower() == ".pt" and not (self.model.torchscript and self.allow_torchscript):
            raise ConfigError(
                f"fill.allow_torchscript: {self.model.path.name} is a program that runs with your rights when it is "
                "loaded; expected true to use it anyway, got false; else take fill=lama, which is ONNX"
            )

    def check(self) -> None:
        """Raises ConfigError when the file has other inputs or another output, or answers on another scale."""
        side, grey = self.windowing.side, 128
        mask = np.zeros((side, side), np.bool_)
        mask[side // 2 - 4 : side // 2 + 4, side // 2 - 4 : side // 2 + 4] = True
        window = FillWindow(pixels=np.full((side, side, 3), grey, np.uint8), mask=mask, seed=0)
        network = self._network("cpu", 1)
        try:
            answer = np.asarray(network(_numbers([window])), np.float32)
        except Exception as error:  # the runtimes share no type
            name = self.model.path.name
            raise ConfigError(f"fill.model: {name} fails on a first window: {one_line(error, 200)}") from error
        if answer.shape != (1, 3, side, side):
            got = "x".join(map(str, answer.shape))
            raise ConfigError(f"fill.model: {self.model.path.name}: expected an answer of 1x3x{side}x{side}, got {got}")
        expected, got_level = grey / 255 * self.white, float(answer.mean())
        if not expected / _NEAR < got_level < expected * _NEAR:
            raise ConfigError(
                f"fill.white: expected {self.model.path.name} to answer grey with about {expected:.3g} "
                f"(white={self.white:g}), got {got_level:.3g}; the usual scales are 255 and 1"
            )

    def load(self, device: Device, threads: int) -> FillModel:
        network = self._network(device, threads)
        scale = np.float32(255 / self.white)

        def paint(windows: Sequence[FillWindow]) -> Sequence[Rgb]:
            return pictures(np.asarray(network(_numbers(windows)), np.float32) * scale, windows)

        return WindowedFill(self.windowing, paint)

    def _network(self, device: Device, threads: int) -> Network:
        if self.model.path.suffix.lower() == ".pt":
            need("fill.lama with a .pt file", "torch")
            from pipeline.fill.shared.torchscript import torchscript  # imports torch

            return torchscript(self.model, device, threads)
        inputs = (Plane(channels=3, kind=FLOAT), Plane(channels=1, kind=FLOAT))
        return read(self.model, self.windowing, inputs, output=Plane(channels=3, kind=FLOAT)).load(device, threads)


def _numbers(windows: Sequence[FillWindow]) -> tuple[Floats, Floats]:
    pixels, masks = planes(windows)
    mask = masks.astype(np.float32)
    return pixels.astype(np.float32) / np.float32(255) * (1 - mask), mask
