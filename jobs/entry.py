"""The command line of a job: its help, `--cfg job`, its config, its log."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from functools import partial

from omegaconf import OmegaConf

from jobs import command
from pipeline import build, driver
from pipeline.credentials import redact
from pipeline.errors import EXIT_OK, RefusedError


def main(name: str, arguments: Sequence[str] | None = None) -> int:
    """Runs the job `name`. Exit codes: 0 all well, 1 it could not go on, 2 refused before it began, 3 too many
    rejected."""
    handler = logging.StreamHandler()
    handler.setFormatter(_Redacted("%(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=os.environ.get("SEGFILL_LOG", "WARNING"), handlers=[handler])
    return command.run(
        name,
        partial(_run, name),
        partial(help_text, name),
        arguments,
        again="the same command resumes the run",
    )


def _run(name: str, arguments: Sequence[str]) -> int:
    overrides, show = _split(arguments)
    config = build.compose(name, overrides)
    if show:
        print(OmegaConf.to_yaml(config), end="")
        return EXIT_OK
    return driver.run(build.build(config), sys.stdout, sys.stderr)


def help_text(name: str) -> str:
    """Every choice of every group with its line, and what this job chooses."""
    config = build.compose(name)
    lines = [
        f"python -m jobs.{name} source.uri=URI sink.uri=URI [group=choice ...] [key=value ...]",
        "",
        build.about(name),
    ]
    lines += [
        "",
        "--cfg job   show the composed config and stop",
        "--help      this page",
        "",
        "Choices (group=choice):",
    ]
    for group, choices in build.groups().items():
        lines += ["", f"{group}:"] + [f"  {choice:<12} {about}" for choice, about in choices.items()]
    lines += ["", f"Config of jobs.{name} (change any with key=value; ??? must be given):", ""]
    lines += ["  " + line for line in OmegaConf.to_yaml(config).splitlines()]
    return "\n".join(lines)


def _split(arguments: Sequence[str]) -> tuple[list[str], bool]:
    rest = list(arguments)
    show = False
    if "--cfg" in rest:
        at = rest.index("--cfg")
        if rest[at + 1 : at + 2] != ["job"]:
            raise RefusedError("--cfg: expected `--cfg job`")
        del rest[at : at + 2]
        show = True
    for argument in rest:
        if argument.startswith("-"):
            option = argument.partition("=")[0]
            raise RefusedError(f"there is no option {option}, only --help and --cfg job; all else is key=value")
    return rest, show


class _Redacted(logging.Formatter):
    """Other libraries log what they like."""

    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))
