"""`segfill estimate JOB IN`: what would the whole source take, and with which pools?

JOB is annotate, clean or anonymize; all its group=choice and key=value may follow. sink.uri is not needed.
Runs the real stages on the sample in this process and writes nothing. Prints images/s by stage, the bottleneck,
memory, pool sizes for both layouts, time, core hours and GPU hours with their uncertainty.

Exit codes: 0 all well, 1 it could not go on, 2 refused.
"""

from __future__ import annotations

import dataclasses
import os
import sys
from functools import partial
from pathlib import Path
from typing import Annotated, Final, cast

from omegaconf import DictConfig, OmegaConf
from pydantic import Field

from jobs import entry
from pipeline import build, life
from pipeline.credentials import redact
from pipeline.errors import EXIT_OK
from pipeline.estimate import sample, sizing
from pipeline.records import Device
from pipeline.spec import spec

main = partial(entry.main, "estimate")


@spec
class EstimateKeys:
    """The keys of conf/estimate.yaml, which join those of the job."""

    sample: Annotated[int, Field(ge=1)] = 64
    """Images to measure, chosen by the seed from up to eight shards."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Chooses the sample."""
    device: Device = "cpu"
    """Where the models are measured."""
    cores: Annotated[int, Field(ge=1)] | None = None
    """Cores of the machine or cluster to plan for; null: those of this machine."""
    gpus: Annotated[int, Field(ge=0)] | None = None
    """GPUs of it; null: those of this machine."""
    memory_gib: Annotated[int, Field(ge=1)] | None = None
    """Memory of it in GiB; null: that of this machine, where `cores` is null too."""


KEYS: Final = EstimateKeys


def run(config: DictConfig) -> int:
    names = [field.name for field in dataclasses.fields(EstimateKeys)]
    given = OmegaConf.to_container(OmegaConf.masked_copy(config, names), resolve=True)
    keys = cast("EstimateKeys", build.made(EstimateKeys, "", cast("dict[str, object]", given)))
    config = OmegaConf.masked_copy(config, [str(key) for key in config.keys() - set(names)])
    if OmegaConf.is_missing(config.sink, "uri"):
        config.sink.uri = os.devnull  # nothing is ever put there
    job = build.build(config)
    threads = int(OmegaConf.select(config, "execute.threads", default=1))
    measured = sample.measure(job.flow, images=keys.sample, seed=keys.seed, device=keys.device, threads=threads)
    machine = sizing.Machine(
        cores=keys.cores or sample.cores(),
        gpus=len([*Path("/dev").glob("nvidia[0-9]*")]) if keys.gpus is None else keys.gpus,
        memory=(keys.memory_gib or 0) << 30 or (0 if keys.cores else _memory()),
    )
    model_fills, active = bool(job.flow.fill.weights), job.flow.fill.active
    text = sizing.text(str(config.job), job.flow.source.uri, measured, machine, model_fills=model_fills, active=active)
    life.say(redact(text))
    return EXIT_OK


def _memory() -> int:
    """Bytes of this machine; 0 where they are not known."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError):
        return 0


if __name__ == "__main__":
    sys.exit(main())
