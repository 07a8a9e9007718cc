"""Mutated inputs: decode and the tar reader end in time, in bounded memory, with a result or a Segfill error."""

import subprocess
import sys
from collections.abc import Callable

import pytest

from tests.fakes.fuzz_batch import SECONDS

KINDS = ("decode", "tar")


def fuzz(kind: str, first: int, count: int) -> dict[str, int]:
    """Run a batch. Returns `read` or a reason -> count. The outer timeout finds a C decoder that hangs."""
    command = [sys.executable, "-m", "tests.fakes.fuzz_batch", kind, str(first), str(count)]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=60 + SECONDS + count * 0.1,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, f"{kind} {first}+{count}: exit {done.returncode}, {done.stderr[-500:]}"
    met = {reason: int(times) for reason, times in (line.split() for line in done.stdout.splitlines())}
    assert sum(met.values()) == count
    return met


def _judge(kind: str, first: int, count: int, record: Callable[[str, object], None]) -> None:
    record("tried", count)
    met = fuzz(kind, first, count)
    record("held", sum(met.values()))
    assert met["read"] > 0
    assert len(met) > 3  # mutations that reach several checks, not just the first bytes


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.promise("A mutated input is read or refused in 10 s and 1 GB")
def test_mutated_inputs_are_read_or_refused(kind: str, record_property: Callable[[str, object], None]) -> None:
    _judge(kind, 0, 150, record_property)


@pytest.mark.chaos
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("batch", range(20))
@pytest.mark.promise("A mutated input is read or refused in 10 s and 1 GB")
def test_many_mutated_inputs_are_read_or_refused(
    kind: str, batch: int, record_property: Callable[[str, object], None]
) -> None:
    _judge(kind, 1000 + batch * 500, 500, record_property)
