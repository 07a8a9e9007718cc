"""How a torch network computes: precision, memory layout, batch. Imports no torch."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Annotated, Literal

from pydantic import Field

from pipeline.errors import ConfigError
from pipeline.spec import spec

Side = Annotated[int, Field(ge=1, le=1 << 15)]


@spec
class TorchOptions:
    """How a torch network computes."""

    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    """Of the network's arithmetic on a GPU (autocast). The CPU always computes in float32."""
    channels_last: bool = False
    """Use the memory layout that tensor cores prefer."""
    batch: Annotated[int, Field(ge=1, le=1024)] = 1
    """Images of one size in one call; more than 1 pays on a GPU only."""
    compile: bool = False
    """Use torch.compile. It takes up to minutes for the first image and for each new size, so it pays on a GPU with
    images of few sizes. It needs a C++ compiler on the CPU, Triton on a GPU."""
    warm_up: tuple[tuple[Side, Side], ...] = ()
    """Heights and widths of black images to run when the network is loaded, [[1080, 1920]], so that nothing is compiled
    or searched for at the first real image."""


def need(what: str, *packages: str) -> None:
    """Raise ConfigError when a package of the extra `hf` is not installed. what: the choice that needs it,
    `segment.fcn`."""
    for package in packages:
        if find_spec(package) is None:
            raise ConfigError(f"{what} needs the package {package}: pip install 'segfill[hf]'")
