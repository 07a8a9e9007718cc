"""How a torch network runs: numbers, memory layout, batch. Cold: only who loads a network imports torch itself."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from typing import Literal

from pipeline.errors import ConfigError
from pipeline.segment.parts import check_flag, check_whole


@dataclass(frozen=True, kw_only=True)
class TorchOptions:
    """precision: of the network's arithmetic on a GPU (autocast); the CPU always computes in float32. channels_last:
    the memory layout that tensor cores like. batch: images of one size in one call; more than 1 pays on a GPU."""

    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    channels_last: bool = False
    batch: int = 1

    def __post_init__(self) -> None:
        if self.precision not in ("float32", "bfloat16", "float16"):
            raise ConfigError(f"segment.run.precision: expected float32, bfloat16 or float16, got {self.precision!r}")
        check_flag("run.channels_last", self.channels_last)
        check_whole("run.batch", self.batch, 1, 1024)


def need(family: str, *packages: str) -> None:
    """Raises ConfigError when a package of the extra `hf` is not installed."""
    for package in packages:
        if find_spec(package) is None:
            raise ConfigError(f"segment.{family} needs the package {package}: pip install 'segfill[hf]'")
