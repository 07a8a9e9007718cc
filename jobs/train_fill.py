"""`python -m jobs.train_fill data=[{uri:PHOTOS,licence:CC0-1.0}] folder=RUN ...`: trains fill=generative.

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
from typing import cast

from hydra import compose, initialize_config_module
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from jobs import command
from pipeline import build
from pipeline.errors import EXIT_OK, ConfigError
from pipeline.fill.generative.train.config import Training
from pipeline.fill.generative.train.photos import Collection
from pipeline.source.auto import Auto


def main(arguments: Sequence[str] | None = None) -> int:
    return command.run("train_fill", run, lambda: str(__doc__), arguments, again="the same command goes on")


def run(arguments: Sequence[str]) -> int:
    training = configured(arguments)
    from pipeline.fill.generative.train import loop  # torch

    loop.train(training, partial(print, flush=True), lambda uri: Auto(uri=uri))
    return EXIT_OK


def configured(overrides: Sequence[str]) -> Training:
    """conf/train_fill.yaml with these overrides. Raises ConfigError."""
    build.refuse_secrets(overrides)
    try:
        with initialize_config_module(config_module="conf", version_base="1.3"):
            config = compose(config_name="train_fill", overrides=list(overrides))
        missing = sorted(OmegaConf.missing_keys(config))
        if missing:
            raise ConfigError(f"{missing[0]} is required: give {missing[0]}=VALUE; --help shows how")
        tree = OmegaConf.to_container(config, resolve=True)
        data = [{"_target_": f"{Collection.__module__}.Collection", **each} for each in tree.pop("data")]
        node = {"_target_": f"{Training.__module__}.Training", "data": data, **tree}
        return cast("Training", build.construct(node, "", ("pipeline",)))
    except (HydraException, OmegaConfBaseException, TypeError, AttributeError) as error:
        raise ConfigError(f"config: {' '.join(str(error).split())}") from error


if __name__ == "__main__":
    sys.exit(main())
