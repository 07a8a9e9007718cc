"""A real Slurm of two nodes on this machine, from Debian's packages: controller, two slurmd, munge, on the loopback
of a network of their own."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

NODES = ("one", "two")
START_SECONDS = 60.0
_CONF = """\
ClusterName=test
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
CredType=cred/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
ReturnToService=2
SlurmdParameters=config_overrides
SchedulerParameters=sched_interval=2,bf_interval=2
KillWait=2
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
NodeName=one NodeHostname=localhost NodeAddr=127.0.0.1 Port={ports[1]} CPUs=2 RealMemory=4000 State=UNKNOWN
NodeName=two NodeHostname=localhost NodeAddr=127.0.0.1 Port={ports[2]} CPUs=2 RealMemory=4000 State=UNKNOWN
PartitionName=all Nodes=one,two Default=YES MaxTime=INFINITE State=UP
"""


@dataclass(frozen=True, kw_only=True)
class Slurm:
    """prefix: of a command that is to reach it, in its own network, where Ray's nodes listen too."""

    folder: Path
    prefix: tuple[str, ...]

    def environment(self) -> dict[str, str]:
        """The variables with which Slurm's commands reach this one."""
        return {"SLURM_CONF": str(self.folder / "slurm.conf")}

    def __call__(self, *command: str, given: str = "") -> str:
        """The output of a command of Slurm. Raises CalledProcessError."""
        environment = {**os.environ, **self.environment()}
        done = subprocess.run(
            [*self.prefix, *command],
            input=given,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
            timeout=30,
        )
        return done.stdout


def missing() -> str:
    """Why there is no Slurm here; "" where there is."""
    absent = [name for name in ("munged", "slurmctld", "slurmd", "sbatch") if not _where(name)]
    if absent:
        return f"{', '.join(absent)} not installed (Debian: slurmctld slurmd slurm-client munge)"
    if os.geteuid() or subprocess.run(["unshare", "--net", "true"], capture_output=True, check=False).returncode:
        return "Slurm's daemons need root and a network of their own, which is not allowed here"
    return ""


@contextlib.contextmanager
def serve() -> Iterator[Slurm]:
    """Start it; end its daemons and their jobs, by id. Raises RuntimeError with its logs if it does not start."""
    with tempfile.TemporaryDirectory(prefix="segfill-slurm-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        for each in ("state", *(f"spool-{node}" for node in NODES)):
            (folder / each).mkdir()
        (folder / "munge.key").write_bytes(secrets.token_bytes(128))
        (folder / "munge.key").chmod(0o600)
        (folder / "slurm.conf").write_text(_CONF.format(folder=folder, ports=_free_ports(3)))
        (folder / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\n")
        munge = [f"--{key}={folder}/munge.{key.partition('-')[0]}" for key in ("socket", "pid-file", "log-file")]
        commands = [
            [_where("munged"), "--foreground", "--force", *munge, f"--key-file={folder}/munge.key",
             f"--seed-file={folder}/munge.seed"],
            [_where("slurmctld"), "-D"],
            *([_where("slurmd"), "-D", "-N", node] for node in NODES),
        ]  # fmt: skip
        network = subprocess.Popen(
            [
                "unshare",
                "--net",
                "sh",
                "-c",
                "ip link set lo up && ip addr add 10.77.0.1/32 dev lo && echo up && exec sleep inf",
            ],
            stdout=subprocess.PIPE,
        )
        assert network.stdout
        network.stdout.readline()
        slurm = Slurm(folder=folder, prefix=("nsenter", f"--net=/proc/{network.pid}/ns/net", "--"))
        running = [network]
        try:
            for command in commands:
                with (folder / f"{Path(command[0]).name}-{len(running)}.out").open("wb") as out:
                    environment = {**os.environ, **slurm.environment()}
                    running.append(
                        subprocess.Popen(
                            [*slurm.prefix, *command], env=environment, stdout=out, stderr=out, start_new_session=True
                        )
                    )
                if not running[2:]:
                    _wait(lambda: (folder / "munge.socket").exists(), slurm)
            _wait(lambda: _idle(slurm), slurm)
            yield slurm
        finally:
            _end(running)


def _idle(slurm: Slurm) -> bool:
    with contextlib.suppress(subprocess.CalledProcessError, subprocess.TimeoutExpired):
        return slurm("sinfo", "--noheader", "--Node", "--format=%T").split() == ["idle"] * len(NODES)
    return False


def _wait(ready: object, slurm: Slurm) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not ready():  # type: ignore[operator]
        if time.monotonic() > deadline:
            logs = [f"{log.name}: {log.read_text(errors='replace')[-800:]}" for log in slurm.folder.glob("*.[lo]*")]
            raise RuntimeError("Slurm did not start:\n" + "\n".join(logs))
        time.sleep(0.2)


def _end(running: list[subprocess.Popen[bytes]]) -> None:
    """Kill the daemons, newest first, and all that descends from them. A slurmstepd leaves its slurmd: it is found by
    the folder in its environment."""
    for process in reversed(running):
        with contextlib.suppress(psutil.NoSuchProcess):
            family = psutil.Process(process.pid).children(recursive=True)
            process.kill()
            for each in family:
                with contextlib.suppress(psutil.NoSuchProcess):
                    each.kill()
        process.wait()


def _where(name: str) -> str:
    return shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])) or ""


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in sockets]
