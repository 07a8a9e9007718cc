"""Run the chain on Ray Data: every core of a machine, or a cluster with GPUs.

One row is one unit, so blocks never split or merge a unit, a retry repeats one unit, and the driver's memory grows with
units, not images. `fused` runs the whole chain of a unit in one actor a core. `staged` gives the models actor pools of
their own (GPUs) and the codecs plain tasks; between them a unit travels as Arrow columns in one binary cell.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar, Final, Literal

import cv2
import pyarrow as pa
import ray
from ray.data import ActorPoolStrategy, DataContext, Dataset, Datasource, ExecutionResources, ReadTask
from ray.data.block import BlockMetadata
from ray.exceptions import RayError, RayTaskError
from ray.experimental import internal_kv

from pipeline import life
from pipeline.errors import DeviceError, RefusedError, RunError, SegfillError
from pipeline.execute import ray_cluster
from pipeline.execute.isolate import WHOLE, ImageLimits, Part, part, run_attempt, run_attempts
from pipeline.execute.node_check import node_check
from pipeline.execute.ray_cluster import first_line
from pipeline.execute.ray_pools import Size, ends, pools
from pipeline.execute.ray_rows import record_of, unit_row, units_of
from pipeline.execute.ray_settings import RaySettings
from pipeline.execute.ray_signs import Told, relayed
from pipeline.flow import Flow
from pipeline.plan import Pending, Plan
from pipeline.records import Committed, Device
from pipeline.spec import spec

MiB = 1 << 20
_SHARDS_A_TASK: Final = 256
_TASKS_A_READER: Final = 8
"""At least, where there are shards enough: so that readers end at about the same time."""
_ALL: Final = 1 << 20
"""Actors of a pool that may take all of a cluster."""
_A_CORE: Final = 0.999
"""Of an actor: a node gets as many as it has cores, and readers find a place beside them. With whole cores they would
starve without a word; with none of their own they would run on a head that is to be kept free."""
_SIGNS = "segfill"
"""Namespace of the numbers of images that workers have seen."""


@spec
class RayData(RaySettings):
    layout: Literal["auto", "fused", "staged"] = "auto"
    """`fused` runs all stages of a unit in one actor; `staged` gives the models actor pools of their own; `auto` is
    staged when the cluster has GPUs on which the models load, else fused."""

    def check(self, flow: Flow, plan: Plan) -> None:
        """Raises ConfigError when no cluster takes us, anybody in the network could give it code to run, or a node of
        it cannot do this run. On this machine alone there is nothing that the driver does not see itself."""
        if not self.address:
            return
        ray_cluster.check_address(self.address)
        with self.session():  # a cluster that listens may still not take us: another version, another token
            ray_cluster.wait_for_cores(self.wait_seconds)
            with node_check(flow, plan) as check:
                ray_cluster.check_nodes(check, self.wait_seconds)

    def run(self, flow: Flow, plan: Plan) -> Iterator[Committed]:
        with self.session(), ray_cluster.watching(self.address):
            if self.address:
                ray_cluster.wait_for_cores(self.wait_seconds, free=True)
            yield from self._run(flow, plan)

    @contextmanager
    def session(self) -> Iterator[None]:
        """Connect to Ray or start it here, for one run or several; end what was started. A session within another does
        nothing."""
        if ray.is_initialized():
            yield
            return
        if self.address:
            ray_cluster.connect(self.address)
        else:
            ray_cluster.start(self.cpus, self.store_mib * MiB)
        try:
            yield
        finally:
            life.phase("stopping Ray")
            ray.shutdown()

    def _run(self, flow: Flow, plan: Plan) -> Iterator[Committed]:
        ray_cluster.quiet()
        try:
            _settings(0 if self.address else self.store_mib * MiB // 2)
            life.phase("starting workers, which load their models")
            done = self._staged(flow, plan) if self._is_staged(flow) else self._fused(flow, plan)
            with _signs_of_workers():
                for row in done.iter_rows():
                    yield record_of(row)
        except RayTaskError as error:
            raise _cause(error) from error
        except RayError as error:
            raise RunError(f"Ray stopped the run: {first_line(error)}; the same command resumes it") from error

    def _is_staged(self, flow: Flow) -> bool:
        """Whether to give models pools of their own. layout=auto leaves a GPU alone on which the models cannot load."""
        if self.layout != "auto" or not _count("GPU"):
            return self.layout == "staged"
        tried = ray.remote(num_cpus=0.05, num_gpus=0.01)(refusal)
        if why := ray.get(tried.remote(flow, self.threads)):
            print(f"execute=auto: the GPU is not used ({why})", file=sys.stderr)
        return not why

    def _read(self, flow: Flow, plan: Plan) -> Dataset:
        readers = self.readers or max(1, _count("CPU") // 4)
        source = Shards(flow, plan, readers)
        units: Dataset = ray.data.read_datasource(
            source, num_cpus=1 - _A_CORE, concurrency=readers, override_num_blocks=len(source.tasks)
        )
        return units

    def _fused(self, flow: Flow, plan: Plan) -> Dataset:
        cores = max(1, _count("CPU"))
        size = self.workers or ((1, _ALL) if self.address else cores)  # nodes that join a cluster get actors, too
        return self._actors(self._read(flow, plan), Whole, flow, "cpu", size, cpus=_A_CORE, first=cores)

    def _staged(self, flow: Flow, plan: Plan) -> Dataset:
        cards = _count("GPU")
        device: Device = "cuda" if cards else "cpu"
        networks = 2 if flow.fill.weights else 1
        size = pools(self.segment_actors, self.fill_actors, self.gpus, cards=cards, networks=networks)
        decoded = _tasks(self._read(flow, plan), part("decode"), flow, self.limits)
        found = self._actors(decoded, Segment, flow, device, size.segment, cpus=0.2, gpus=size.gpus, units=self.units)
        chosen = _tasks(found, part("select", "crop"), flow, self.limits)
        if flow.fill.weights:
            made = self._actors(chosen, Fill, flow, device, size.fill, cpus=0.2, gpus=size.gpus, units=self.units)
        elif flow.fill.active:  # without a network a fill would only hold a GPU
            made = self._actors(chosen, Fill, flow, "cpu", size.fill, cpus=0.2)
        else:
            made = _tasks(chosen, part("fill"), flow, self.limits)
        return _tasks(made, part("render", commits=True), flow, self.limits)

    def _actors(
        self,
        rows: Dataset,
        actor: type[PartActor],
        flow: Flow,
        device: Device,
        size: Size,
        *,
        cpus: float,
        gpus: float = 0.0,
        units: int = 1,
        first: int = 0,
    ) -> Dataset:
        """first: actors to start with, where the pool may grow and shrink; else its smallest number."""
        smallest, largest = ends(size)
        in_flight = 2 if gpus else 1  # the first CPU actor that is up must not hoard what the others could do
        return rows.map_batches(
            actor,
            fn_constructor_args=(flow, device, self.threads, self.limits),
            batch_size=units,
            batch_format="pyarrow",
            num_cpus=cpus,
            num_gpus=gpus,
            compute=ActorPoolStrategy(
                min_size=smallest,
                max_size=largest,
                initial_size=min(max(first, smallest), largest),
                max_tasks_in_flight_per_actor=in_flight,
            ),
            # Ray restarts a dead actor for ever by default. One image kills two of them, then isolate.py finds it.
            # There is no other way to say so in 2.60 than this argument, which 2.64 will drop.
            max_restarts=100,
        )


def refusal(flow: Flow, threads: int) -> str:
    """Why the models cannot run on the GPU of this worker; "" when they can."""
    worker = flow.load("cuda", threads)
    try:
        _ = worker.segmenters, worker.fill if flow.fill.weights else None
    except DeviceError as error:
        return str(error)
    return ""


def _tasks(rows: Dataset, part: Part, flow: Flow, limits: ImageLimits) -> Dataset:
    return rows.map_batches(Task(part, flow, limits), batch_size=1, batch_format="pyarrow", num_cpus=0.2)


class Shards(Datasource):
    """The pending shards of a plan, some of them a read task, which yields a row for each unit as it is read. A shard
    costs the driver its plan's bytes, not a task: 100,000 are ready in a moment."""

    def __init__(self, flow: Flow, plan: Plan, readers: int) -> None:
        each = min(_SHARDS_A_TASK, max(1, len(plan.pending) // (_TASKS_A_READER * readers)))
        starts = range(0, len(plan.pending), each)
        self.tasks = [_ReadShards(flow, plan.pending[start : start + each]) for start in starts]

    def get_name(self) -> str:
        return "Read"

    def estimate_inmemory_data_size(self) -> None:
        return None

    def get_read_tasks(
        self, parallelism: int, per_task_row_limit: int | None = None, data_context: object = None
    ) -> list[ReadTask]:
        return self.tasks


class _ReadShards(ReadTask):
    def __init__(self, flow: Flow, shards: Sequence[Pending]) -> None:
        self.shards = shards

        def read() -> Iterator[pa.Table]:
            for pending in shards:
                yield from map(unit_row, flow.source.units(pending.shard, pending.done))

        super().__init__(read, BlockMetadata(num_rows=None, size_bytes=None, input_files=None, exec_stats=None))


@dataclass(frozen=True)
class Task:
    """A part of the chain as a plain task: what it needs is cheap to load."""

    part: Part
    flow: Flow
    limits: ImageLimits

    def __call__(self, table: pa.Table) -> pa.Table:
        cv2.setNumThreads(1)
        (batch,) = units_of(table)
        return unit_row(run_attempt(self.part, self.flow.load("cpu", 1), batch, self.limits))


class PartActor:
    """A part of the chain as an actor that keeps its models. Ray's own views show the name of the subclass."""

    part: ClassVar[Part]

    def __init__(self, flow: Flow, device: Device, threads: int, limits: ImageLimits) -> None:
        cv2.setNumThreads(1)  # with more, some of its sums round otherwise and the bytes differ
        self.worker, self.limits = flow.load(device, threads), limits
        life.listen(Told(_put_sign))

    def __call__(self, table: pa.Table) -> Iterator[pa.Table]:
        batches = units_of(table)
        if len(batches) == 1:
            yield unit_row(run_attempt(self.part, self.worker, batches[0], self.limits))
        else:
            yield from map(unit_row, run_attempts(self.part, self.worker, batches, self.limits))


class Whole(PartActor):
    part = WHOLE


class Segment(PartActor):
    part = part("segment")


class Fill(PartActor):
    part = part("fill")


def _put_sign(images: int) -> None:
    """Leave a number where the driver looks: in the store of the cluster's head, under the job and this worker."""
    worker = ray.get_runtime_context().get_worker_id()
    internal_kv._internal_kv_put(_signs_of_job() + worker.encode(), str(images).encode(), namespace=_SIGNS)


@contextmanager
def _signs_of_workers() -> Iterator[None]:
    prefix = _signs_of_job()

    def total() -> int:
        keys = internal_kv._internal_kv_list(prefix, namespace=_SIGNS)
        return sum(int(internal_kv._internal_kv_get(key, namespace=_SIGNS) or 0) for key in keys)

    try:
        with relayed(total):
            yield
    finally:  # another run may follow in this job
        internal_kv._internal_kv_del(prefix, del_by_prefix=True, namespace=_SIGNS)


def _signs_of_job() -> bytes:
    return f"{ray.get_runtime_context().get_job_id()}/".encode()


def _settings(store_bytes: int) -> None:
    """store_bytes: of blocks in flight; 0 leaves it to Ray: the limit holds for the whole cluster, not for a node."""
    context = DataContext.get_current()
    context.target_max_block_size = 1  # every row is its own block: one unit is one piece of work
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.max_consecutive_actor_init_deaths = 3  # the default of 0 ends the run at the first hiccup
    context.raise_original_map_exception = True  # else the cause, and with it our own message, is lost on its way here
    context.execution_no_progress_timeout_s = 3600  # a unit of large images may take long; half an hour fails the job
    # A pool grows as soon as all of its actors are busy: with one task each they are never more than that.
    context.autoscaling_config.actor_pool_util_upscaling_threshold = 1.0
    limits = ExecutionResources.for_limits(object_store_memory=store_bytes or None)
    context.execution_options.resource_limits = limits


def _count(kind: str) -> int:
    return int(ray.cluster_resources().get(kind, 0))


def _cause(error: RayTaskError) -> Exception:
    cause = error.cause
    if isinstance(cause, RefusedError):  # what was refused at the start is a fault of this node now
        said = str(cause).splitlines()[0]
        return RunError(f"a worker on node {error.ip}: {said}; when that is mended, the same command resumes the run")
    if isinstance(cause, SegfillError):
        cause.args = tuple(str(cause).splitlines()[:1])  # Ray appends advice on its own retries
        return cause
    return RunError(f"a worker failed: {first_line(cause or error)}; the same command resumes the run")
