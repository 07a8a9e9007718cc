"""Mutated inputs: decode and the tar reader end in time, in bounded memory, with a result or with an error of ours."""

import subprocess
import sys

import pytest

from tests.chaos.fuzz import SECONDS

KINDS = ("decode", "tar")


def fuzz(kind: str, first: int, count: int) -> dict[str, int]:
    """What the batch met: `read` or a reason -> how often. A C decoder that hangs is found by the outer timeout."""
    command = [sys.executable, "-m", "tests.chaos.fuzz", kind, str(first), str(count)]
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


def _judge(met: dict[str, int]) -> None:
    assert met["read"] > 0
    assert len(met) > 3  # mutations that reach several checks, not just the first bytes


@pytest.mark.parametrize("kind", KINDS)
def test_mutated_inputs_are_read_or_refused(kind: str) -> None:
    _judge(fuzz(kind, 0, 150))


@pytest.mark.chaos
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("batch", range(20))
def test_many_mutated_inputs_are_read_or_refused(kind: str, batch: int) -> None:
    _judge(fuzz(kind, 1000 + batch * 500, 500))
