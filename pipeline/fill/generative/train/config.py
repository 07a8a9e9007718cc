"""What a training is told: conf/train_fill.yaml, checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.errors import ConfigError
from pipeline.fill.generative.train.photos import Collection


@dataclass(frozen=True, kw_only=True)
class Training:
    """data: what to learn from. held_out: how many photographs, those of the least sha256, are never learnt from.
    sizes: (side, count) of the windows of one step after the other, again and again; sides are multiples of 8.
    start: weights to begin from while there is no checkpoint, a .safetensors file; empty: none.
    steps: of the generator, those before the checkpoint included. warm_up: steps before the discriminator begins.
    inside, outside, detail, fool, match, penalty: weights of the losses; the penalty is paid every `penalty_every`
    steps.
    pool: side in pixels of the squares whose mean colours are compared; 1: every pixel.
    follow: decay of the moving average. precision: float32 or bfloat16 (mixed). threads: on the CPU.
    Raises ConfigError.
    """

    data: Sequence[Collection]
    folder: str
    start: str
    steps: int
    held_out: int
    sizes: Sequence[Sequence[int]]
    seed: int
    device: str
    precision: str
    threads: int
    lr: float
    discriminator_lr: float
    discriminator_width: int
    warm_up: int
    inside: float
    outside: float
    detail: float
    adversarial_weight: float
    feature_weight: float
    penalty: float
    penalty_every: int
    pool: int
    ema_decay: float
    log_every: int
    sheet_every: int
    save_seconds: float

    def __post_init__(self) -> None:
        if not self.data:
            raise ConfigError(
                "data: expected at least one collection, for instance data=[{uri: photos, licence: CC0-1.0}]"
            )
        for key, least in (("steps", 1), ("threads", 1), ("discriminator_width", 1), ("penalty_every", 1), ("pool", 1),
                           ("log_every", 1), ("sheet_every", 1), ("held_out", 0), ("warm_up", 0),
                           ("seed", 0)):  # fmt: skip
            value = getattr(self, key)
            if type(value) is not int or value < least:
                raise ConfigError(f"{key}: expected a whole number of at least {least}, got {value!r}")
        for key in (
            "lr",
            "discriminator_lr",
            "inside",
            "outside",
            "detail",
            "adversarial_weight",
            "feature_weight",
            "penalty",
            "ema_decay",
            "save_seconds",
        ):
            value = getattr(self, key)
            if type(value) not in (int, float) or not value >= 0:
                raise ConfigError(f"{key}: expected a number of at least 0, got {value!r}")
        if not self.ema_decay < 1:
            raise ConfigError(f"follow: expected a number below 1, got {self.ema_decay!r}")
        for key, known in (("device", ("cpu", "cuda")), ("precision", ("float32", "bfloat16"))):
            if getattr(self, key) not in known:
                raise ConfigError(f"{key}: expected {' or '.join(known)}, got {getattr(self, key)!r}")
        if not self.sizes or not all(
            len(size) == 2 and all(type(n) is int for n in size) and size[0] >= 64 and size[0] % 8 == 0 and size[1] >= 1
            for size in self.sizes
        ):
            raise ConfigError(
                f"sizes: expected [side, count] pairs, sides of at least 64 by eights, got {self.sizes!r}"
            )
