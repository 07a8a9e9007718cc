"""Computes time and pool sizes for a whole source from a measured sample, and the text of `segfill estimate`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Final

from pydantic import Field

from pipeline.estimate.sample import Sample
from pipeline.flow import TIMED
from pipeline.spec import spec

MiB: Final = 1 << 20
_ENOUGH: Final = 64
"""Images; with fewer, the spread itself is uncertain."""


@spec
class Machine:
    """Resources of one machine or of a whole cluster."""

    cores: Annotated[int, Field(ge=1)]
    """Number of CPU cores."""
    gpus: Annotated[int, Field(ge=0)]
    """Number of GPUs."""
    memory: Annotated[int, Field(ge=0)]
    """Memory in bytes; 0: unknown."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Pool sizes and speed of one layout. pools: keys of the config (execute.KEY) and `decode_tasks`, of which Ray runs
    as many as there are cores for. rate: images/s. cores, gpus: core and GPU seconds of one image; gpus is 0 without a
    GPU."""

    pools: Mapping[str, float]
    rate: float
    cores: float
    gpus: float


def bottleneck(sample: Sample) -> str:
    """Return the stage that takes most of an image's time."""
    return max(TIMED, key=lambda stage: sample.seconds[stage])


def fused(sample: Sample, machine: Machine) -> Layout:
    """Size the fused layout: one actor a core runs all stages, fewer where memory is short. Readers share the cores."""
    seconds = sample.seconds
    whole = sum(seconds.values())
    work = whole - seconds["read"]
    workers = max(1, machine.cores // sample.threads)
    if machine.memory and sample.memory.peak:
        workers = max(1, min(workers, int(0.8 * machine.memory / sample.memory.peak)))
    readers = _ceil(workers * seconds["read"] / work) if work else 1
    rate = min(workers / work if work else math.inf, machine.cores / (sample.threads * whole))
    return Layout(pools={"workers": workers, "readers": readers}, rate=rate, cores=sample.threads * whole, gpus=0.0)


def staged(sample: Sample, machine: Machine, *, model_fills: bool) -> Layout:
    """Size the staged layout: models in their own pools, on the GPUs if there are any; the cores read, decode and
    render. model_fills: the fill is a network too and takes a share of the GPUs."""
    seconds = sample.seconds
    models = {"segment": seconds["segment"]} | ({"fill": seconds["fill"]} if model_fills else {})
    busy = sum(models.values())
    whole = sum(seconds.values())
    codecs = whole - busy
    if machine.gpus and busy:
        rate = min(machine.gpus / busy, machine.cores / codecs if codecs else math.inf)
        pools, cores, gpus = _gpu_pools(models, machine.gpus), codecs, busy
    else:
        rate, cores, gpus = machine.cores / (sample.threads * whole), sample.threads * whole, 0.0
        pools = {f"{name}_actors": max(1, round(rate * value)) for name, value in models.items()}
    pools = {"readers": _ceil(rate * seconds["read"]), **pools}
    pools["decode_tasks"] = _ceil(rate * seconds["decode"])
    pools.setdefault("fill_actors", _ceil(rate * seconds["fill"]))
    return Layout(pools=pools, rate=rate, cores=cores, gpus=gpus)


def _ceil(number: float) -> int:
    """Round up to at least 1."""
    return max(1, math.ceil(round(number, 6)))


def _gpu_pools(models: Mapping[str, float], gpus: int) -> dict[str, float]:
    """Return actors of each model in proportion to their seconds, at least one each, all with one share of a GPU."""
    if len(models) == 1:
        return {f"{name}_actors": gpus for name in models}
    share = 0.5 if gpus == 1 else 1.0
    slots = round(gpus / share)
    first = min(slots - 1, max(1, round(slots * models["segment"] / sum(models.values()))))
    return {"segment_actors": first, "fill_actors": slots - first, "gpus": share}


def text(name: str, source: str, sample: Sample, machine: Machine, *, model_fills: bool, active: bool) -> str:
    """Return the estimate as text. active: the flow fills something."""
    seconds, slowest = sample.seconds, bottleneck(sample)
    whole = sum(seconds.values())
    about = "about " if sample.guessed else ""
    lines = [
        f"{name}: {about}{sample.total:,.0f} images at {source}" + (", by their bytes" if sample.guessed else ""),
        f"sample: {_count(sample.images, 'image')} of {_count(sample.shards, 'shard')}, {sample.rejected} rejected, on "
        f"{sample.device}, {_count(sample.threads, 'thread')}; nothing was written",
        "",
        "stage      ms/image   images/s  share",
    ]
    for stage in TIMED:
        value = seconds[stage]
        rate = f"{1 / value:10.1f}" if value > 5e-6 else "         -"
        lines.append(f"{stage:<9} {1000 * value:9.2f} {rate} {value / whole:6.0%}")
    lines += [
        f"{'all':<9} {1000 * whole:9.2f} {1 / whole:10.1f}   one after the other",
        "",
        f"bottleneck: {slowest}, {seconds[slowest] / whole:.0%} of an image's time",
        f"memory of a worker: {_memory(sample)}",
        f"start of a worker: {sample.load:.1f} s to load its models and run a first image",
        "",
    ]
    size = f"{_count(machine.cores, 'core')}, {_count(machine.gpus, 'GPU')}"
    for kind, layout in (
        ("fused", fused(sample, machine)),
        ("staged", staged(sample, machine, model_fills=model_fills)),
    ):
        pools = {key: value for key, value in layout.pools.items() if active or key != "fill_actors"}
        command = " ".join(f"execute.{key}={value:g}" for key, value in pools.items() if key != "decode_tasks")
        tasks = f" ({pools['decode_tasks']:g} decode tasks at a time)" if "decode_tasks" in pools else ""
        lines += [
            f"{kind} on {size}: {layout.rate:.1f} images/s, {_span(sample, 1 / layout.rate)}",
            f"  execute={'ray' if kind == 'fused' else 'staged'} {command}{tasks}",
            f"  {sample.total * layout.cores / 3600:.3g} core hours, {_gpu_hours(sample, machine, layout)}",
        ]
    return "\n".join([*lines, "", *_caveats(sample, machine)])


def _span(sample: Sample, seconds: float) -> str:
    """Return the time for the whole source with its 95 % interval."""
    middle = sample.total * seconds
    if not math.isfinite(sample.half_width):
        return f"{_time(middle)} for all, without an interval: one group of images gives no spread"
    low, high = (middle * max(0.0, 1 + sign * sample.half_width) for sign in (-1, 1))
    return f"{_time(middle)} for all ({_time(low)} to {_time(high)})"


def _gpu_hours(sample: Sample, machine: Machine, layout: Layout) -> str:
    if not layout.gpus:
        return "no GPU hours"
    hours = f"{sample.total * layout.gpus / 3600:.3g} GPU hours"
    if sample.device == "cpu":
        return f"at most {hours}: the models were measured on the CPU, device=cuda measures them on a GPU"
    return f"{hours} busy, {sample.total * machine.gpus / layout.rate / 3600:.3g} held"


def _caveats(sample: Sample, machine: Machine) -> list[str]:
    """Return the caveats of an estimate."""
    caveats = ["not included: puts into the output's store, Ray's start, transfers between processes."]
    if sample.images < _ENOUGH:
        caveats.append(
            f"a small sample: {_count(sample.images, 'image')}; use sample={_ENOUGH} or more before you rely on it."
        )
    if sample.rejected:
        caveats.append(f"{sample.rejected} of the sample were rejected: run a small part of the source to see why.")
    if sample.load_average > 1:
        caveats.append(
            f"the machine was busy: {sample.load_average:.1f} processes a core were ready to run; idle, it is faster."
        )
    if machine.gpus and sample.device == "cpu":
        caveats.append("the staged numbers assume a GPU as fast as this CPU: a floor, not an estimate.")
    return caveats


def _memory(sample: Sample) -> str:
    memory = sample.memory
    if not memory.peak:
        return "unknown on this system"
    growth = memory.growth / MiB
    return (
        f"{memory.loaded / MiB:,.0f} MiB with the models, peak {memory.peak / MiB:,.0f} MiB, "
        f"growth {growth:+.2f} MiB an image"
    )


def _time(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.3g} min" if seconds < 7200 else f"{seconds / 3600:,.3g} h"


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
