"""Connect to a Ray cluster, or start Ray here, and look at every node before anything is written."""

from __future__ import annotations

import ipaddress
import logging
import os
import socket
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import ray
from ray._private import ray_constants, services
from ray._private import worker as ray_worker
from ray.autoscaler.sdk import request_resources
from ray.exceptions import RayError, TaskUnschedulableError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from pipeline import life
from pipeline.credentials import redact
from pipeline.errors import EXIT_FAILED, ConfigError, RunError
from pipeline.execute.node_check import NodeCheck

LOST_AFTER: Final = 10.0
"""Seconds without an answer of the head after which a run gives up. Ray itself ends the process after 60, without a
word."""
_LOOK_EVERY: Final = 1.0


def check_address(address: str) -> None:
    """Raise ConfigError for an address that no run of ours should or can use. Looks for a listener and for a node on
    this machine first: Ray itself would try for minutes."""
    if address.startswith("ray://"):
        raise ConfigError(
            f"execute.address: {address!r} is a Ray Client address, through which Ray Data cannot run; give HOST:PORT "
            "of the head on a machine that is a node of the cluster, or send the job there with segfill submit"
        )
    host, _, port = address.rpartition(":")
    if not _is_loopback(host) and os.environ.get("RAY_AUTH_MODE") != "token":
        raise ConfigError(
            f"execute.address: {address!r} is not on loopback, and without a token whoever reaches a Ray "
            "cluster runs code on it; start it and this job with RAY_AUTH_MODE=token, or leave the address empty"
        )
    if not host:
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"execute.address: no Ray cluster at {address!r} ({first_line(error)}); start one, "
            "or leave it empty to use this machine"
        ) from error
    if not services.find_node_ids():
        raise ConfigError(
            f"execute.address: this machine is no node of the cluster at {address}; run the command on one of its "
            "nodes, or send the job there with segfill submit"
        )


def connect(address: str) -> None:
    """Raises ConfigError when the cluster does not take us."""
    life.phase(f"connecting to Ray at {address}")
    _init(f"no Ray cluster at {address!r}", address=address)


def start(cpus: int, store_bytes: int) -> None:
    """Start Ray on this machine alone, on loopback. cpus: 0 takes all. Raises ConfigError."""
    life.phase("starting Ray")
    with on_loopback():
        _init(
            "Ray does not start on this machine",
            address="local",  # not what RAY_ADDRESS says
            num_cpus=cpus or None,
            include_dashboard=False,
            object_store_memory=store_bytes,
            _node_ip_address="127.0.0.1",
        )


def _init(failure: str, **arguments: Any) -> None:
    quiet()
    with hushed() as said:
        try:
            ray.init(log_to_driver=False, logging_level=logging.ERROR, **arguments)
        except (ConnectionError, RuntimeError, ValueError, RayError) as error:
            why = _TOKEN if "InvalidAuthToken" in said() else first_line(error)
            raise ConfigError(f"execute.address: {failure}: {why}") from error


_TOKEN: Final = (
    "it asks for a token that this process does not have; set RAY_AUTH_MODE=token and the cluster's RAY_AUTH_TOKEN or "
    "RAY_AUTH_TOKEN_PATH"
)


# --- before a run ----------------------------------------------------------------------------------------------


def wait_for_cores(seconds: float, *, free: bool = False) -> None:
    """Wait until a node has cores, free ones if `free`, and ask an autoscaler for some. Says what it waits for. Raises
    ConfigError, or RunError for free ones, after so many seconds."""
    deadline, asked = time.monotonic() + seconds, False
    try:
        while _cores(ray.available_resources() if free else ray.cluster_resources()) < 1:
            what = _missing(free=free)
            if time.monotonic() > deadline:
                kind = RunError if free else ConfigError
                raise kind(f"waited {seconds:g} s {what}; add a node, or wait longer with execute.wait_seconds=SECONDS")
            life.phase(f"waiting {what}")
            if not asked:
                request_resources(num_cpus=1)
                asked = True
            time.sleep(_LOOK_EVERY)
    finally:
        if asked:  # else the cluster would keep that core for ever
            request_resources(num_cpus=0)


def _missing(*, free: bool) -> str:
    cores = _cores(ray.cluster_resources())
    if free and cores:
        return f"for a free core: others take all {cores:g} of the cluster"
    nodes = sum(bool(node["Alive"]) for node in ray.nodes())
    return f"for a node with cores: the cluster has {nodes} node(s), none of them with a core for work"


def _cores(resources: Mapping[str, float]) -> float:
    return resources.get("CPU", 0.0)


def check_nodes(check: NodeCheck, seconds: float) -> None:
    """Run the check on every node that has cores, all at once. Raises ConfigError that names each node at fault."""
    nodes = [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU")]
    life.phase("checking 1 node" if len(nodes) == 1 else f"checking {len(nodes)} nodes")
    task = ray.remote(max_retries=0, num_cpus=0)(_problem)
    asked = {
        task.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)).remote(check): node
        for node in nodes
    }
    ready, late = ray.wait(list(asked), num_returns=len(asked), timeout=seconds)
    faults = {_name(asked[answer]): _answer(answer) for answer in ready}
    faults |= {_name(asked[answer]): f"did not answer within {seconds:g} s" for answer in late}
    told = [f"{node} {problem}" for node, problem in sorted(faults.items()) if problem]
    if told:
        more = f"; {len(told) - 1} more nodes cannot do this run" if len(told) > 1 else ""
        raise ConfigError(f"execute.address: node {told[0]}{more}")


def _problem(check: NodeCheck) -> str:
    return redact(check.problem())


def _answer(answer: ray.ObjectRef[str]) -> str:
    try:
        return str(ray.get(answer))
    except TaskUnschedulableError:  # the node left meanwhile, or was lost before anybody noticed
        return ""
    except RayError as error:
        said = str(error)
        if "ModuleNotFoundError" in said:
            missing = said[said.index("ModuleNotFoundError") :].splitlines()[0]
            return (
                f"cannot run Segfill ({missing}); install the same packages there as here, or send the job with "
                "segfill submit"
            )
        return f"failed the check: {first_line(error)}"


def _name(node: Mapping[str, Any]) -> str:
    return f"{node['NodeName']} ({node['NodeManagerAddress']}, {str(node['NodeID'])[:8]})"


# --- during a run ----------------------------------------------------------------------------------------------


@contextmanager
def watching(address: str) -> Iterator[None]:
    """End this process with a line when the head of the cluster is lost, while it lasts. Empty: nothing is watched."""
    if not address:
        yield
        return
    head = ray.get_runtime_context().gcs_address
    end = threading.Event()
    thread = threading.Thread(target=_watch, args=(head, end), name="segfill-head", daemon=True)
    thread.start()
    try:
        yield
    finally:
        end.set()


def _watch(head: str, end: threading.Event) -> None:
    """The main thread may hang in Ray's own code then, so the process ends here."""
    host, _, port = head.rpartition(":")
    seen = time.monotonic()
    while not end.wait(_LOOK_EVERY):
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=LOST_AFTER / 2).close()
            seen = time.monotonic()
        except OSError as error:
            if time.monotonic() - seen > LOST_AFTER and not end.is_set():
                why = first_line(error)
                life.say(
                    f"the head of the Ray cluster at {head} does not answer any more ({why}); start the cluster again, "
                    "then the same command resumes the run",
                    sys.stderr,
                )
                os._exit(EXIT_FAILED)


# --- Ray's own words -------------------------------------------------------------------------------------------


def quiet() -> None:
    """Keep Ray's words in the logs of its session; SEGFILL_LOG=DEBUG shows them here too."""
    if os.environ.get("SEGFILL_LOG", "") != "DEBUG":
        for name in ("ray", "ray.data"):
            logging.getLogger(name).setLevel(logging.CRITICAL)  # errors come as exceptions
        warnings.filterwarnings("ignore", module=r"ray\.")
        warnings.filterwarnings("ignore", message="`ray_remote_args` is deprecated")
        ray_worker.print_to_stdstream = _nothing  # the lines of "(raylet)", which log_to_driver=False leaves


def _nothing(*_: object, **__: object) -> None:
    pass


def first_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".strip().splitlines()[0][:300]


@contextmanager
def hushed() -> Iterator[Callable[[], str]]:
    """Silence standard error at the level of the process, where Ray's C++ part greets and complains. Gives a function
    that returns what was said there."""
    sys.stderr.flush()
    with tempfile.TemporaryFile() as words:
        kept = os.dup(2)
        try:
            os.dup2(words.fileno(), 2)
            yield lambda: os.pread(words.fileno(), 1 << 20, 0).decode(errors="replace")
        finally:
            os.dup2(kept, 2)
            os.close(kept)


@contextmanager
def on_loopback() -> Iterator[None]:
    """Keep all of Ray's sockets on loopback. Ray 2.60 replaces `_node_ip_address="127.0.0.1"` by the machine's outer
    address and listens on all of them, except where it does without clusters (tests/ray/test_loopback.py)."""
    kept = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = kept


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
