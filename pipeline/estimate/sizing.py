"""What would the whole source take, and with which pools? Arithmetic over a measured sample; the text of jobs.plan."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from pipeline.errors import ConfigError
from pipeline.estimate.sample import Sample
from pipeline.flow import TIMED

MiB: Final = 1 << 20
_ENOUGH: Final = 64
"""Images; below that the spread itself is hardly known."""


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Of this machine or of all of a cluster. memory: bytes, 0 = unknown."""

    cores: int
    gpus: int
    memory: int

    def __post_init__(self) -> None:
        for name, least in (("cores", 1), ("gpus", 0), ("memory", 0)):
            value = getattr(self, name)
            if type(value) is not int or value < least:
                raise ConfigError(f"{name}: expected a whole number of at least {least}, got {value!r}")


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Pools of one layout and what they do. pools: in words of the config (execute.KEY=VALUE), and `decode_tasks`, of
    which Ray runs as many as there are cores for. rate: images/s. cores, gpus: seconds of one image; gpus is 0 without
    any."""

    pools: Mapping[str, float]
    rate: float
    cores: float
    gpus: float


def binding(sample: Sample) -> str:
    """The stage that takes most of an image's time."""
    return max(TIMED, key=lambda stage: sample.seconds[stage])


def fused(sample: Sample, machine: Machine) -> Layout:
    """One actor a core runs the whole line; fewer where the memory does not suffice. Readers share the cores."""
    seconds = sample.seconds
    whole = sum(seconds.values())
    line = whole - seconds["read"]
    workers = max(1, machine.cores // sample.threads)
    if machine.memory and sample.memory.peak:
        workers = max(1, min(workers, int(0.8 * machine.memory / sample.memory.peak)))
    readers = _whole(workers * seconds["read"] / line) if line else 1
    rate = min(workers / line if line else math.inf, machine.cores / (sample.threads * whole))
    return Layout(pools={"workers": workers, "readers": readers}, rate=rate, cores=sample.threads * whole, gpus=0.0)


def staged(sample: Sample, machine: Machine, *, model_fills: bool) -> Layout:
    """Models in pools of their own, on the GPUs where there are any; the rest of the cores read, decode and render.
    model_fills: the fill is a network too, and takes a share of the GPUs."""
    seconds = sample.seconds
    models = {"segment": seconds["segment"]} | ({"fill": seconds["fill"]} if model_fills else {})
    busy = sum(models.values())
    whole = sum(seconds.values())
    codecs = whole - busy
    if machine.gpus and busy:
        rate = min(machine.gpus / busy, machine.cores / codecs if codecs else math.inf)
        pools, cores, gpus = _cards(models, machine.gpus), codecs, busy
    else:
        rate, cores, gpus = machine.cores / (sample.threads * whole), sample.threads * whole, 0.0
        pools = {f"{name}_actors": max(1, round(rate * value)) for name, value in models.items()}
    pools = {"readers": _whole(rate * seconds["read"]), **pools}
    pools["decode_tasks"] = _whole(rate * seconds["decode"])
    pools.setdefault("fill_actors", _whole(rate * seconds["fill"]))
    return Layout(pools=pools, rate=rate, cores=cores, gpus=gpus)


def _whole(number: float) -> int:
    """At least one, rounded up."""
    return max(1, math.ceil(round(number, 6)))


def _cards(models: Mapping[str, float], gpus: int) -> dict[str, float]:
    """Actors of each model, each with the same share of a GPU: as their seconds are, at least one each."""
    if len(models) == 1:
        return {f"{name}_actors": gpus for name in models}
    share = 0.5 if gpus == 1 else 1.0
    slots = round(gpus / share)
    first = min(slots - 1, max(1, round(slots * models["segment"] / sum(models.values()))))
    return {"segment_actors": first, "fill_actors": slots - first, "gpus": share}


def text(name: str, source: str, sample: Sample, machine: Machine, *, model_fills: bool, active: bool) -> str:
    """For a person. active: the flow fills something."""
    seconds, bind = sample.seconds, binding(sample)
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
        f"binds: {bind}, {seconds[bind] / whole:.0%} of an image's time",
        f"memory of a worker: {_memory(sample)}",
        f"start of a worker: {sample.load:.1f} s until its models had seen an image",
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
    return "\n".join([*lines, "", *_doubts(sample, machine)])


def _span(sample: Sample, seconds: float) -> str:
    """Time for the whole source, with its 95 % interval."""
    middle = sample.total * seconds
    if not math.isfinite(sample.unsure):
        return f"{_time(middle)} for all, give or take what one group of images cannot tell"
    low, high = (middle * max(0.0, 1 + sign * sample.unsure) for sign in (-1, 1))
    return f"{_time(middle)} for all ({_time(low)} to {_time(high)})"


def _gpu_hours(sample: Sample, machine: Machine, layout: Layout) -> str:
    if not layout.gpus:
        return "no GPU hours"
    hours = f"{sample.total * layout.gpus / 3600:.3g} GPU hours"
    if sample.device == "cpu":
        return f"at most {hours}: the models were measured on the CPU, device=cuda measures them on a GPU"
    return f"{hours} busy, {sample.total * machine.gpus / layout.rate / 3600:.3g} held"


def _doubts(sample: Sample, machine: Machine) -> list[str]:
    """What a reader must know before he believes it."""
    doubts = ["not in it: puts into the output's store, Ray's start, what travels between processes."]
    if sample.images < _ENOUGH:
        doubts.append(
            f"a small sample: {_count(sample.images, 'image')}; take sample={_ENOUGH} or more before you rely on it."
        )
    if sample.rejected:
        doubts.append(f"{sample.rejected} of the sample were rejected: run a small part of the source and look at why.")
    if sample.load_average > 1:
        doubts.append(
            f"busy with other work: {sample.load_average:.1f} processes a core wanted to run; idle, it is faster."
        )
    if machine.gpus and sample.device == "cpu":
        doubts.append("the staged numbers assume a GPU as fast as this CPU: a floor, not an estimate.")
    return doubts


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
