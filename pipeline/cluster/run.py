"""One run as a cluster gets it: a command whose name follows from its output.

The command is what was typed, so that the driver on the cluster composes and checks it as this process did, and a
person can type it again. The output's name in the run's name lets each kind of cluster find a run that is there
already.
"""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol, runtime_checkable

from pipeline.errors import ConfigError

EXIT_DETACHED: Final = 130
"""128 + SIGINT: nobody waited for the run's end, which is therefore not 0."""
ADDRESS: Final = "RAY_ADDRESS"
"""Ray sets it for every job; our scripts set it too. It names the cluster that the driver is on."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """verb: of the job, such as `anonymize`. arguments: `key=value` each, paths absolute. source, sink: URIs. config:
    the semantic part, dotted key -> JSON."""

    verb: str
    arguments: tuple[str, ...]
    source: str
    sink: str
    config: Mapping[str, str]

    @property
    def place(self) -> str:
        """Name of the output: `segfill-` and 12 hex digits. Two runs into one output have the same."""
        return f"segfill-{hashlib.sha256(self.sink.rstrip('/').encode()).hexdigest()[:12]}"

    @property
    def name(self) -> str:
        """The place, and 8 hex digits of what is done there."""
        what = json.dumps([self.verb, self.source, dict(self.config)], sort_keys=True)
        return f"{self.place}-{hashlib.sha256(what.encode()).hexdigest()[:8]}"

    def command(self, python: str = "python") -> str:
        """The driver's command for a shell on a node of the cluster, where RAY_ADDRESS is set."""
        words = [python, "-m", "jobs", self.verb, *self.arguments]
        return f'{shlex.join(words)} execute.address="${ADDRESS}"'

    def refuse_local(self, kind: str, hint: str) -> None:
        """Raise ConfigError for a source or output on this machine's disk, which the nodes do not have."""
        for key, uri in (("source.uri", self.source), ("sink.uri", self.sink)):
            if "://" not in uri or uri.startswith("file:"):
                raise ConfigError(f"{key}={uri}: cluster={kind} runs on machines without this disk; {hint}")


@runtime_checkable
class Cluster(Protocol):
    """What a choice of conf/cluster/ builds."""

    def launch(self, run: Run) -> int:
        """Start the run, or join it where it is already there; return the exit code. Raises ConfigError before anything
        was started, RunError after."""
