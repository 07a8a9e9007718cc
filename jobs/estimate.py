"""`segfill estimate JOB source.uri=URI`: what would the whole source take, and with which pools?

JOB is annotate, clean or anonymize; all its group=choice and key=value may follow. sink.uri is not needed.
Runs the real stages on the sample in this process and writes nothing. Prints images/s by stage, the bottleneck,
memory, pool sizes for both layouts, time, core hours and GPU hours with their uncertainty.

Exit codes: 0 all well, 1 it could not go on, 2 refused.
"""

from __future__ import annotations

import os
import sys
from functools import partial
from pathlib import Path
from typing import cast

from omegaconf import DictConfig, OmegaConf

import conf
from jobs import entry
from pipeline import build
from pipeline.credentials import redact
from pipeline.errors import EXIT_OK, ConfigError
from pipeline.estimate import sample, sizing
from pipeline.records import Device

main = partial(entry.main, "estimate")


def run(config: DictConfig) -> int:
    keys = [str(key) for key in OmegaConf.load(conf.FOLDER / "estimate.yaml")]
    own = OmegaConf.masked_copy(config, keys)
    config = OmegaConf.masked_copy(config, [str(key) for key in config.keys() - set(keys)])
    if OmegaConf.is_missing(config.sink, "uri"):
        config.sink.uri = os.devnull  # nothing is ever put there
    job = build.build(config)
    measured = sample.measure(
        job.flow,
        images=_number(own, "sample", 0),
        seed=_number(own, "seed", 0),
        device=_device(own),
        threads=int(OmegaConf.select(config, "execute.threads", default=1)),
    )
    machine = sizing.Machine(
        cores=_number(own, "cores", sample.cores()),
        gpus=_number(own, "gpus", len([*Path("/dev").glob("nvidia[0-9]*")])),
        memory=_number(own, "memory_gib", 0) << 30 or (_memory() if own.cores is None else 0),
    )
    model_fills, active = bool(job.flow.fill.weights), job.flow.fill.active
    text = sizing.text(str(config.job), job.flow.source.uri, measured, machine, model_fills=model_fills, active=active)
    print(redact(text))
    return EXIT_OK


def _number(own: DictConfig, key: str, default: int) -> int:
    value = default if own[key] is None else own[key]
    if type(value) is not int or value < 0:
        raise ConfigError(f"{key}: expected a whole number, got {value}")
    return value


def _device(own: DictConfig) -> Device:
    if own.device not in ("cpu", "cuda"):
        raise ConfigError(f"device: expected cpu or cuda, got {own.device}")
    return cast("Device", own.device)


def _memory() -> int:
    """Bytes of this machine; 0 where they are not known."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError):
        return 0


if __name__ == "__main__":
    sys.exit(main())
