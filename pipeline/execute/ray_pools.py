"""How many actors of the staged layout hold a model, and how much of a GPU each? Arithmetic, without Ray."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from pipeline.errors import ConfigError

Size: TypeAlias = int | tuple[int, ...]
"""Of an actor pool: a number, 0 = choose; or the least and the most, between which Ray Data scales it."""


@dataclass(frozen=True, kw_only=True)
class Pools:
    """gpus: share of a GPU for each actor that has a network."""

    segment: Size
    fill: Size
    gpus: float


def check_size(name: str, size: object) -> None:
    """Raises ConfigError for what is no Size."""
    plain = type(size) is int and size >= 0
    span = isinstance(size, tuple) and [type(end) for end in size] == [int, int] and 1 <= size[0] <= size[1]
    if not plain and not span:
        raise ConfigError(f"execute.{name}: expected 0 (choose) or more, or [least, most], got {size!r}")


def check_share(gpus: float) -> None:
    """Raises ConfigError for what Ray would not give."""
    if gpus < 0 or (gpus > 1 and gpus != int(gpus)):
        raise ConfigError(f"execute.gpus: expected a share of 0 to 1, or a whole number of GPUs, got {gpus}")


def ends(size: Size) -> tuple[int, int]:
    """The least and the most."""
    return (size, size) if isinstance(size, int) else (size[0], size[1])


def pools(segment: Size, fill: Size, gpus: float, *, cards: int, networks: int) -> Pools:
    """With what is to be chosen chosen: an actor a GPU and stage, so that all of them fit.

    cards: GPUs of the cluster. networks: stages that have one: segment, or segment and fill. Raises ConfigError for
    more actors than there are GPUs for: Ray would wait for the others, and the run hang without a word.
    """
    share = gpus or (1.0 / networks if cards else 0.0)
    if not share:
        return Pools(segment=segment or 1, fill=fill or 1, gpus=0.0)
    slots = cards * int(1 / share + 1e-6) if share <= 1 else cards // int(share)
    usual = max(1, min(cards, slots // networks))
    made = Pools(segment=segment or usual, fill=fill or usual, gpus=share)
    least = sum(ends(size)[0] for size in (made.segment, made.fill)[:networks])
    if least > slots:
        raise ConfigError(
            f"execute.gpus: {least} actors of {share:g} GPUs each do not fit on {cards}; lower segment_actors, "
            "fill_actors or gpus, or take execute=ray, which needs no GPU"
        )
    return made
