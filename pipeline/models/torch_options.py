"""How a torch network runs: numbers, memory layout, batch. Cold: only who loads a network imports torch itself."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from typing import Literal

from pipeline.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class TorchOptions:
    """precision: of the network's arithmetic on a GPU (autocast); the CPU always computes in float32. channels_last:
    the memory layout that tensor cores like. batch: images of one size in one call; more than 1 pays on a GPU. compile:
    by torch.compile, which takes up to minutes for the first image and for another size, and pays on a GPU with images
    of few sizes; it needs a C++ compiler on the CPU, Triton on a GPU. warm_up: heights and widths of images that the
    network sees once, black, as it is loaded: then nothing is built or searched for at the first image."""

    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    channels_last: bool = False
    batch: int = 1
    compile: bool = False
    warm_up: tuple[tuple[int, int], ...] = ()

    def __post_init__(self) -> None:
        if self.precision not in ("float32", "bfloat16", "float16"):
            raise ConfigError(f"precision: expected float32, bfloat16 or float16, got {self.precision!r}")
        if not isinstance(self.channels_last, bool):
            raise ConfigError(f"channels_last: expected true or false, got {self.channels_last!r}")
        if not isinstance(self.compile, bool):
            raise ConfigError(f"compile: expected true or false, got {self.compile!r}")
        for size in self.warm_up:
            fine = isinstance(size, tuple) and len(size) == 2 and all(type(side) is int for side in size)
            if not fine or not 1 <= min(size) <= max(size) <= 1 << 15:
                raise ConfigError(f"warm_up: expected pairs of a height and a width, [[1080, 1920]], got {size!r}")
        if type(self.batch) is not int or not 1 <= self.batch <= 1024:
            raise ConfigError(f"batch: expected a whole number from 1 to 1024, got {self.batch!r}")


def need(what: str, *packages: str) -> None:
    """what: the choice that needs them, `segment.fcn`. Raises ConfigError when a package of the extra `hf` is not
    installed."""
    for package in packages:
        if find_spec(package) is None:
            raise ConfigError(f"{what} needs the package {package}: pip install 'segfill[hf]'")
