"""`segfill train_fill data=[{uri:PHOTOS,licence:CC0-1.0}] folder=RUN`: trains the network of fill=generative.

Stopped, the same command goes on from RUN/checkpoint.pt, bit for bit. `steps` counts from the very first one.
RUN/data.json lists what was used: name, licence, sha256; RUN/sheet-*.png show held-out windows;
RUN/generative.safetensors holds the averaged weights in half precision, and at the end RUN/generative.onnx the network
that fill=generative runs (fill.model.uri, fill.model.sha256).

Exit codes: 0 all well, 1 it could not go on, 2 refused.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from typing import Final, cast

from omegaconf import DictConfig

from jobs import entry
from pipeline import build, life
from pipeline.errors import EXIT_OK, ConfigError
from pipeline.fill.generative.train.config import Training
from pipeline.source.auto import Auto

_COLLECTION = "pipeline.fill.generative.train.photos.Collection"

KEYS: Final = Training
main = partial(entry.main, "train_fill")


def run(config: DictConfig) -> int:
    training = _training(config)
    from pipeline.fill.generative.train import loop  # torch

    life.phase("training")
    loop.train(training, life.say, lambda uri: Auto(uri=uri))
    return EXIT_OK


def configured(overrides: Sequence[str]) -> Training:
    """conf/train_fill.yaml with these overrides. Raises ConfigError."""
    return _training(entry.compose("train_fill", overrides))


def _training(config: DictConfig) -> Training:
    tree = build.plain(config)
    data = tree["data"]
    if not isinstance(data, list) or not all(isinstance(each, dict) for each in data):
        raise ConfigError(f"data: expected a list such as [{{uri:PHOTOS,licence:CC0-1.0}}], got {data!r}")
    tree["data"] = [{"_target_": _COLLECTION, **cast("dict[str, build.Node]", each)} for each in data]
    return cast("Training", build.construct(tree, "train_fill", ("pipeline",)))


if __name__ == "__main__":
    sys.exit(main())
