"""cluster=slurm: an sbatch script that starts Ray on the nodes of one job, runs the driver, and ends with its code.

Installation, source and output lie in a file system that all nodes share, or in a bucket. Neither `ray symmetric-run`
nor `ray stop`: the one exited with 0 without a run (Ray 2.60), the other ends every Ray of the user on a node.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Final

import jinja2
from pydantic import Field

from pipeline import life
from pipeline.cluster import package
from pipeline.cluster.run import EXIT_DETACHED, Run
from pipeline.credentials import redact
from pipeline.errors import EXIT_OK, ConfigError, RunError, one_line
from pipeline.spec import spec

_TEMPLATE: Final = Path(__file__).with_name("slurm.sh.j2")
_SECONDS: Final = 30.0
"""For a command of Slurm; its controller may be busy."""
_PAUSE: Final = 2.0
_GOING: Final = ("PENDING", "RUNNING", "SUSPENDED", "COMPLETING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "RESIZING")
_Word = Annotated[str, Field(pattern=r"^[\w.,:@&|*+/\[\]=-]*$", description="a word as Slurm takes it")]
_Path = Annotated[str, Field(pattern=r"^[^\x00\s%]*$", description="a path without spaces or %")]


@spec
class Slurm:
    nodes: Annotated[int, Field(ge=1)] = 1
    """Nodes of the job."""
    cpus: Annotated[int, Field(ge=1)] = 1
    """Cores of each node."""
    gpus: Annotated[int, Field(ge=0)] = 0
    """GPUs of each node, by gres."""
    memory_gib: Annotated[int, Field(ge=0)] = 0
    """Memory of each node in GiB; 0: what the partition gives."""
    time: _Word = ""
    """Time limit, such as 24:00:00; empty: that of the partition. At its end the job is requeued and resumes."""
    partition: _Word = ""
    account: _Word = ""
    """Who pays."""
    qos: _Word = ""
    constraint: _Word = ""
    """Features that the nodes must have."""
    requeues: Annotated[int, Field(ge=0)] = 100
    """Time limits after which the job is put in the queue again. Slurm counts preemptions too, but always requeues
    them."""
    warn_seconds: Annotated[int, Field(ge=1)] = 120
    """Before the time limit at which the job is requeued."""
    wait_seconds: Annotated[int, Field(ge=0)] = 180
    """For nodes that start late; the run then begins with those that are there."""
    python: _Path = ""
    """Python of the installation as nodes see it; empty: that which runs this command."""
    setup: tuple[str, ...] = ()
    """Lines of shell that come first, such as 'module load cuda'."""
    ray_start: tuple[str, ...] = ()
    """Options for `ray start` on every node, such as --object-store-memory=BYTES."""
    temp: _Path = "/tmp"
    """Local folder of the nodes for Ray's sockets and spilled objects."""
    logs: _Path = "."
    """Folder of the job's log, which all nodes see."""
    file: _Path = ""
    """The script is written there; empty: to standard output, or with `apply` nowhere."""
    apply: bool = False
    """Submit it with sbatch, which this machine must have."""
    follow: bool = True
    """After apply: show the log until the job ends, and exit with its code; false: exit with 130."""

    def options(self) -> list[str]:
        """Those options of sbatch that are given."""
        given = ((key, getattr(self, key)) for key in ("time", "partition", "account", "qos", "constraint"))
        return [f"--{key}={value}" for key, value in given if value]

    def script(self, run: Run) -> str:
        python = self.python or sys.executable
        environment = jinja2.Environment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True)
        return environment.from_string(_TEMPLATE.read_text()).render(
            slurm=self,
            run=run,
            python=python,
            home=str(package.home("pipeline").parent),
            command=run.command(python),
            log=self._log(run, "%j"),
            quote=shlex.quote,
            comment=lambda text: " ".join(text.split()),
        )

    def launch(self, run: Run) -> int:
        script = self.script(run)
        if self.file:
            Path(self.file).write_text(script, encoding="utf-8")
            life.say(f"{self.file}: sbatch {self.file} starts the run, and resumes it")
        elif not self.apply:
            life.say(script.rstrip("\n"))
        if not self.apply:
            return EXIT_OK
        if missing := [name for name in ("sbatch", "squeue", "scontrol") if not shutil.which(name)]:
            raise ConfigError(f"cluster.apply: {missing[0]} is not found; run this where Slurm's commands are")
        job = self._submitted(run, script)
        try:
            if self.follow:
                return self._followed(run, job)
        except KeyboardInterrupt:
            life.say("")
        life.say(
            f"detached: job {job} goes on; the same command attaches again, segfill watch {run.sink} counts what is "
            f"done, scancel {job} ends it"
        )
        return EXIT_DETACHED

    def _submitted(self, run: Run, script: str) -> str:
        """The job's id: of one that is in the queue for this output, or of a new one."""
        for line in _slurm("squeue", "--me", "--noheader", f"--name={run.place}", "--format=%i %k").splitlines():
            job, _, name = line.strip().partition(" ")
            if name != run.name:
                raise ConfigError(
                    f"sink.uri={run.sink}: another run writes there now (job {job}); wait for its end, scancel it, or "
                    "choose another sink.uri"
                )
            life.say(f"attached to job {job}")
            return job
        job = _slurm("sbatch", "--parsable", given=script).strip().partition(";")[0]
        life.say(f"submitted job {job}; its log is {self._log(run, job)}")
        return job

    def _followed(self, run: Run, job: str) -> int:
        shown, log = 0, Path(self._log(run, job))
        life.phase(f"following job {job}")
        while True:
            state, code = _state(job)
            ended = state not in _GOING
            if log.exists():
                data = log.read_bytes()[shown:]
                whole = data if ended else data[: data.rfind(b"\n") + 1]
                shown += len(whole)
                for line in whole.decode(errors="replace").splitlines():
                    life.say(redact(line))
            if state == "COMPLETED":
                return EXIT_OK
            if ended and code:
                return code
            if ended:
                raise RunError(f"job {job} is {state}; the same command resumes the run")
            time.sleep(_PAUSE)

    def _log(self, run: Run, job: str) -> str:
        return f"{os.path.abspath(self.logs)}/{run.name}-{job}.log"


def _state(job: str) -> tuple[str, int]:
    """The state of a job and its exit code. Raises RunError when Slurm does not know it any more."""
    fields = dict(_fields(_slurm("scontrol", "--oneliner", "show", "job", job)))
    code, _, number = fields.get("ExitCode", "0:0").partition(":")
    return fields.get("JobState", "UNKNOWN"), int(code) or (128 + int(number) if int(number or 0) else 0)


def _fields(line: str) -> Iterator[tuple[str, str]]:
    for word in line.split():
        key, equals, value = word.partition("=")
        if equals:
            yield key, value


def _slurm(*command: str, given: str = "") -> str:
    """The output of a command of Slurm. Raises RunError with its own words."""
    try:
        done = subprocess.run(command, input=given, capture_output=True, text=True, timeout=_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RunError(f"{command[0]}: {one_line(error)}; try again when Slurm answers") from error
    if done.returncode:
        raise RunError(f"{command[0]} refused: {_last(done.stderr.splitlines())}; cluster.apply=false shows the script")
    return done.stdout


def _last(lines: Sequence[str]) -> str:
    return next((line.strip() for line in reversed(lines) if line.strip()), "no reason was given")
