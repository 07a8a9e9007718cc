"""Answers started ahead arrive in order, and never more of them are started than allowed."""

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import pytest
import torch

from pipeline.models.prefetch import prefetch
from pipeline.models.torch_device import PendingArrays, to_device


@pytest.mark.parametrize("count", [0, 1, 3, 9])
def test_answers_come_in_order_and_at_most_count_are_started_ahead(count: int) -> None:
    log: list[str] = []

    def awaited(number: int) -> int:
        log.append(f"wait {number}")
        return 10 * number

    def asked() -> Iterator[tuple[int, Callable[[], int]]]:
        for number in range(5):
            log.append(f"start {number}")
            yield number, partial(awaited, number)

    found = []
    for key, answer in prefetch(asked(), count):
        found.append((key, answer))
        log.append(f"use {key}")
    assert found == [(number, 10 * number) for number in range(5)]
    for number in range(5):
        before = log[: log.index(f"wait {number}")]
        assert sum(line.startswith("start") for line in before) == min(5, number + 1 + count)
        assert f"use {number - 1}" in before or number == 0


def test_nothing_asked_is_nothing_answered() -> None:
    assert list(prefetch(iter(()), 3)) == []


def test_numbers_get_to_a_device_and_back() -> None:
    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    values.setflags(write=False)
    there = to_device(values, torch.float32, torch.device("cpu"))
    there += 1  # a copy of its own
    late = PendingArrays(lambda one, all_fine: (one.tolist(), bool(all_fine)), there * 2, torch.isfinite(there).all())
    assert late() == ([[2.0, 4.0, 6.0], [8.0, 10.0, 12.0]], True)
    assert values[0, 0] == 0
