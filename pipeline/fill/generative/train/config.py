"""The keys of conf/train_fill.yaml."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from pipeline.fill.generative.train.photos import Collection
from pipeline.records import Device
from pipeline.spec import spec

Count = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]
Weight = Annotated[float, Field(ge=0)]
"""Factor of a loss; 0: left out."""
Size = tuple[Annotated[int, Field(ge=64, multiple_of=8)], Positive]


@spec
class Training:
    """What to learn from, how long, and by which losses."""

    data: Annotated[tuple[Collection, ...], Field(min_length=1)]
    """Photographs to learn from, for instance [{uri: photos, licence: CC0-1.0}]."""
    folder: str
    """Where the checkpoint, the sample sheets and the list of data are written; a run resumes from its checkpoint."""
    start: str
    """Weights to begin from while there is no checkpoint: generative.onnx, or the .safetensors of an earlier training;
    empty: none."""
    steps: Positive
    """Steps of the generator in all, those before the checkpoint included."""
    held_out: Count
    """Photographs, those of the least sha256, that are never learnt from."""
    sizes: Annotated[tuple[Size, ...], Field(min_length=1)]
    """[side in pixels, count] of the windows of one step after the other, again and again."""
    seed: Count
    """Decides what every step sees, and the initial weights."""
    device: Device
    """Where the networks compute."""
    precision: Literal["float32", "bfloat16"]
    """bfloat16: mixed precision."""
    threads: Positive
    """On the CPU."""
    lr: Weight
    """Learning rate of the generator."""
    discriminator_lr: Weight
    """Learning rate of the discriminator."""
    discriminator_width: Positive
    """Channels of the discriminator's first layer."""
    warm_up: Count
    """Steps before the discriminator begins."""
    inside: Weight
    """Weight of the mean absolute difference in the hole, of colours averaged over `pool`."""
    outside: Weight
    """Weight of the same outside, where the picture is pasted over in any case."""
    detail: Weight
    """Weight of the difference in how much fine detail there is in the hole."""
    adversarial_weight: Weight
    """Weight of the adversarial loss."""
    feature_weight: Weight
    """Weight of the distance between the discriminator's features."""
    penalty: Weight
    """Weight of the discriminator's gradient at real windows (R1)."""
    penalty_every: Positive
    """Steps between two penalties."""
    pool: Positive
    """Side in pixels of the squares whose mean colours are compared: finer detail is the discriminator's. 1: every
    pixel."""
    ema_decay: Annotated[float, Field(ge=0, lt=1)]
    """Decay of the moving average of the weights, which is what is kept."""
    log_every: Positive
    """Steps between two lines of losses."""
    sheet_every: Positive
    """Steps between two sheets of held-out windows."""
    save_seconds: Weight
    """Seconds between two checkpoints."""
