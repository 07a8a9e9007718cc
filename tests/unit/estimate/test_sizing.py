"""Pools and totals from a sample whose answer is known."""

import math
from dataclasses import replace

import pytest

from pipeline.errors import ConfigError
from pipeline.estimate.sample import Group, Memory, Sample
from pipeline.estimate.sizing import Machine, bottleneck, fused, staged, text

COST = {
    "read": 0.1,
    "decode": 0.2,
    "segment": 0.5,
    "select": 0.0,
    "fill": 0.3,
    "crop": 0.0,
    "render": 0.2,
    "commit": 0.2,
}
GIB = 1 << 30


def sample(*costs: dict[str, float], total: float = 3600.0, guessed: bool = False) -> Sample:
    return Sample(
        groups=tuple(Group(images=8, seconds=cost, image_bytes=1000.0) for cost in costs or (COST, COST)),
        shards=1,
        rejected=0,
        load=1.0,
        memory=Memory(loaded=GIB // 2, peak=GIB, growth=0.0),
        total=total,
        guessed=guessed,
        device="cuda",
        threads=1,
    )


def test_fused_takes_a_worker_a_core_and_shares_the_cores_with_the_readers() -> None:
    layout = fused(sample(), Machine(cores=14, gpus=0, memory=0))
    assert layout.pools == {"workers": 14, "readers": 1}
    assert layout.rate == pytest.approx(14 / 1.5)  # 1.5 s an image, read and all
    assert layout.cores == pytest.approx(1.5)


def test_memory_bounds_the_workers() -> None:
    assert fused(sample(), Machine(cores=14, gpus=0, memory=10 * GIB)).pools["workers"] == 8


def test_a_slow_read_takes_more_readers() -> None:
    slow = COST | {"read": 2.8}
    assert fused(sample(slow, slow), Machine(cores=4, gpus=0, memory=0)).pools["readers"] == 8


def test_staged_shares_the_gpus_as_the_models_take_time() -> None:
    layout = staged(sample(), Machine(cores=1000, gpus=8, memory=0), model_fills=True)
    assert layout.pools["segment_actors"] == 5
    assert layout.pools["fill_actors"] == 3
    assert layout.rate == pytest.approx(8 / 0.8)
    assert layout.pools["decode_tasks"] == 2
    assert layout.cores == pytest.approx(0.7)
    assert layout.gpus == pytest.approx(0.8)


def test_two_models_share_one_gpu_in_halves() -> None:
    pools = staged(sample(), Machine(cores=1000, gpus=1, memory=0), model_fills=True).pools
    assert (pools["segment_actors"], pools["fill_actors"], pools["gpus"]) == (1, 1, 0.5)


def test_too_few_cores_starve_the_gpus() -> None:
    assert staged(sample(), Machine(cores=7, gpus=100, memory=0), model_fills=True).rate == pytest.approx(10)


def test_totals_scale_with_the_source() -> None:
    machine = Machine(cores=15, gpus=0, memory=0)
    small, large = (
        text("annotate", "in", sample(total=total), machine, model_fills=False, active=False) for total in (7200, 72000)
    )
    assert "fused on 15 cores, 0 GPUs: 10.0 images/s, 12 min for all (12 min to 12 min)" in small
    assert "2 h for all" in large
    assert "3 core hours" in small
    assert "30 core hours" in large
    assert "fill_actors" not in small


def test_gpu_hours_are_those_of_the_models() -> None:
    found = text("clean", "in", sample(), Machine(cores=1000, gpus=8, memory=0), model_fills=True, active=True)
    assert "0.8 GPU hours busy, 0.8 held" in found


def test_models_measured_on_the_cpu_give_only_an_upper_bound() -> None:
    measured = replace(sample(), device="cpu")
    found = text("clean", "in", measured, Machine(cores=64, gpus=8, memory=0), model_fills=True, active=True)
    assert "at most 0.8 GPU hours" in found
    assert "a floor, not an estimate" in found


def test_the_spread_between_groups_gives_the_interval() -> None:
    slow = {stage: 2 * value for stage, value in COST.items()}
    assert sample().half_width == 0
    assert math.isinf(sample(COST).half_width)
    two, eight = sample(COST, slow), sample(*[COST, slow] * 4)
    assert two.half_width > 1 > eight.half_width > 0.2
    assert "without an interval" in text(
        "x", "in", sample(COST), Machine(cores=1, gpus=0, memory=0), model_fills=False, active=False
    )


def test_the_slowest_stage_is_the_bottleneck() -> None:
    assert bottleneck(sample()) == "segment"
    assert bottleneck(sample(COST | {"read": 0.6})) == "read"


def test_a_machine_without_cores_is_refused() -> None:
    with pytest.raises(ConfigError, match="cores: expected a whole number of at least 1"):
        Machine(cores=0, gpus=0, memory=0)
