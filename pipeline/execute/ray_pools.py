"""Sizes of the actor pools of the staged layout, and the share of a GPU of each actor. Arithmetic, without Ray."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, TypeAlias

from pydantic import Field

from pipeline.errors import ConfigError

Size: TypeAlias = Annotated[int, Field(ge=0)] | tuple[int, int]
"""Of an actor pool: a number, 0 = choose; or (min, max), between which Ray Data scales it."""


@dataclass(frozen=True, kw_only=True)
class Pools:
    """gpus: share of a GPU for each actor that has a network."""

    segment: Size
    fill: Size
    gpus: float


def check_sizes(**sizes: Size) -> None:
    """Raise ConfigError for a [min, max] that is no range."""
    for name, size in sizes.items():
        if isinstance(size, tuple) and not 1 <= size[0] <= size[1]:
            raise ConfigError(f"execute.{name}: expected 0 (choose) or more, or [min, max], got {size!r}")


def check_share(gpus: float) -> None:
    """Raise ConfigError for what Ray does not give."""
    if gpus > 1 and gpus != int(gpus):
        raise ConfigError(f"execute.gpus: expected a share of 0 to 1, or a whole number of GPUs, got {gpus}")


def ends(size: Size) -> tuple[int, int]:
    """(min, max) of a pool."""
    return (size, size) if isinstance(size, int) else size


def pools(segment: Size, fill: Size, gpus: float, *, cards: int, networks: int) -> Pools:
    """Resolve zeros to concrete pool sizes: an actor a GPU and stage, so that all of them fit.

    cards: GPUs of the cluster. networks: stages that have one: segment, or segment and fill. Raises ConfigError for
    more actors than there are GPUs for: Ray would wait for the others without a word.
    """
    share = gpus or (1.0 / networks if cards else 0.0)
    if not share:
        return Pools(segment=segment or 1, fill=fill or 1, gpus=0.0)
    slots = cards * int(1 / share + 1e-6) if share <= 1 else cards // int(share)
    usual = max(1, min(cards, slots // networks))
    made = Pools(segment=segment or usual, fill=fill or usual, gpus=share)
    needed = sum(ends(size)[0] for size in (made.segment, made.fill)[:networks])
    if needed > slots:
        raise ConfigError(
            f"execute.gpus: {needed} actors of {share:g} GPUs each do not fit on {cards}; lower segment_actors, "
            "fill_actors or gpus, or take execute=ray, which needs no GPU"
        )
    return made
