"""`python -m jobs.plan JOB source.uri=URI [sample=64] ...`: what would the whole source take, and with which pools?

JOB            annotate, clean or anonymize; all its group=choice and key=value may follow. sink.uri is not needed.
sample=64      images to measure, chosen by the seed from up to eight shards
seed=0
device=cpu     cuda measures the models on a GPU
cores=N        of the machine or cluster to plan for (default: this machine's)
gpus=N         likewise
memory_gib=N   likewise

Runs the real stages on the sample in this process and writes nothing. Prints images/s by stage, the stage that binds,
memory, pool sizes for both layouts, time, core hours and GPU hours with their uncertainty.

Exit codes: 0 all well, 1 it could not go on, 2 refused.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final, cast

from omegaconf import DictConfig, OmegaConf

from jobs import command
from pipeline import build
from pipeline.credentials import redact
from pipeline.errors import EXIT_OK, ConfigError
from pipeline.estimate import sample, sizing
from pipeline.records import Device

_OWN: Final = ("sample", "seed", "device", "cores", "gpus", "memory_gib")


def main(arguments: Sequence[str] | None = None) -> int:
    return command.run("plan", _printed, lambda: __doc__ or "", arguments)


def _printed(arguments: Sequence[str]) -> int:
    print(redact(run(arguments)))
    return EXIT_OK


def run(arguments: Sequence[str]) -> str:
    name, *rest = arguments or [""]
    if name not in build.JOBS:
        raise ConfigError(f"expected a job first ({', '.join(build.JOBS)}), got {name or 'nothing'}")
    own = {key: value for key, _, value in (each.partition("=") for each in rest) if key in _OWN}
    config = build.compose(name, [each for each in rest if each.partition("=")[0] not in _OWN])
    if OmegaConf.is_missing(config.sink, "uri"):
        config.sink.uri = os.devnull  # nothing is ever put there
    job = build.build(config)
    measured = sample.measure(
        job.flow,
        images=_number(own, "sample", 64),
        seed=_number(own, "seed", 0),
        device=_device(own),
        threads=_threads(config),
    )
    machine = sizing.Machine(
        cores=_number(own, "cores", sample.cores()),
        gpus=_number(own, "gpus", len([*Path("/dev").glob("nvidia[0-9]*")])),
        memory=_number(own, "memory_gib", 0) << 30 or (0 if "cores" in own else _memory()),
    )
    model_fills, active = bool(job.flow.fill.weights), job.flow.fill.active
    return sizing.text(name, job.flow.source.uri, measured, machine, model_fills=model_fills, active=active)


def _number(own: dict[str, str], key: str, default: int) -> int:
    try:
        number = int(own.get(key, default))
    except ValueError:
        number = -1
    if number < 0:
        raise ConfigError(f"{key}: expected a whole number, got {own[key]}")
    return number


def _device(own: dict[str, str]) -> Device:
    device = own.get("device", "cpu")
    if device not in ("cpu", "cuda"):
        raise ConfigError(f"device: expected cpu or cuda, got {device}")
    return cast("Device", device)


def _threads(config: DictConfig) -> int:
    return int(OmegaConf.select(config, "execute.threads", default=1))


def _memory() -> int:
    """Bytes of this machine; 0 where nobody says."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError):
        return 0


if __name__ == "__main__":
    sys.exit(main())
