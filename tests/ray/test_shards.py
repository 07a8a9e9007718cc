"""How the shards of a plan become read tasks of Ray Data."""

from pathlib import Path

import pytest

from pipeline import build
from pipeline.execute.ray_data import Shards
from pipeline.execute.ray_rows import units_of
from pipeline.plan import Pending, Plan
from pipeline.records import Counts, Shard
from tests.fakes.drawn_images import folder_of


@pytest.mark.parametrize(
    ("shards", "readers", "tasks", "largest"),
    [(1, 4, 1, 1), (7, 1, 7, 1), (64, 2, 16, 4), (100_000, 4, 391, 256), (0, 1, 0, 0)],
)
def test_a_task_has_few_shards_where_there_are_few_and_256_where_there_are_many(
    shards: int, readers: int, tasks: int, largest: int
) -> None:
    pending = tuple(Pending(shard=Shard(path=f"{n}", uri=f"/{n}", size=1, etag=""), done={}) for n in range(shards))
    flow = build.build(build.compose("annotate", ["source.uri=in", "sink.uri=out", "execute=local"])).flow
    plan = Plan(pending=pending, shards=shards, bytes=0, images=0, before=Counts(), bytes_before=0)
    made = Shards(flow, plan, readers)
    assert len(made.tasks) == tasks
    sizes = [len(task.shards) for task in made.tasks]
    assert sum(sizes) == shards
    assert max(sizes, default=0) == largest


def test_a_task_yields_each_unit_of_its_shards_once_and_in_order(tmp_path: Path) -> None:
    config = ["source=files", f"source.uri={folder_of(tmp_path / 'in', range(7))}", "source.unit_images=2"]
    flow = build.build(build.compose("annotate", [*config, "sink.uri=out", "execute=local"])).flow
    pending = tuple(Pending(shard=shard, done={}) for shard in flow.source.shards())
    plan = Plan(pending=pending, shards=len(pending), bytes=0, images=7, before=Counts(), bytes_before=0)
    rows = [row for task in Shards(flow, plan, 1).tasks for row in task()]
    batches = [batch for row in rows for batch in units_of(row)]
    assert [len(batch.items) for batch in batches] == [2, 2, 2, 1]
    assert [item.ref.member for batch in batches for item in batch.items] == [f"{n}.png" for n in range(7)]
