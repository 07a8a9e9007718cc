"""A job run in this process, with what it printed."""

import io
from pathlib import Path
from typing import NamedTuple

from pipeline import build, driver


class Ended(NamedTuple):
    """Exit code, standard output, standard error."""

    code: int
    out: str
    err: str


def run(job: str, source: Path | str, out: Path | str, *overrides: str) -> Ended:
    """Run a job from `source` into `out`. Raises what the driver raises where it refuses to start."""
    config = build.compose(job, [f"source.uri={source}", f"sink.uri={out}", *overrides])
    printed, errors = io.StringIO(), io.StringIO()
    return Ended(driver.run(build.build(config), printed, errors), printed.getvalue(), errors.getvalue())
