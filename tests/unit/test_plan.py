"""plan.py: what is left is the listing minus the ledger."""

from pipeline.plan import make
from pipeline.records import Committed, Counts, Shard, Unit, unit_id

SHARDS = [Shard(path=name, uri=f"/data/{name}", size=1000, etag="e") for name in ("b.tar", "a.tar", "c.tar")]


def committed(shard: str, start: int, stop: int, *, last: bool) -> Committed:
    unit = Unit(
        unit_id=unit_id(shard, start), shard=shard, uri=f"/data/{shard}", etag="e", start=start, stop=stop, last=last
    )
    return Committed(
        unit=unit,
        attempt="x",
        counts=Counts(images=3, written=1, unchanged=1, rejected=1),
        files=(),
        loose=(),
        staged=(),
        rejects=(),
        segments=(),
        seconds={},
        bytes_in=100,
        host="h",
    )


def test_a_first_plan_has_every_shard_sorted_by_path() -> None:
    plan = make(SHARDS, [])
    assert [p.shard.path for p in plan.pending] == ["a.tar", "b.tar", "c.tar"]
    assert plan.bytes == 3000
    assert plan.images_pending is None


def test_only_an_unbroken_chain_to_the_last_unit_finishes_a_shard() -> None:
    records = [
        committed("a.tar", 0, 512, last=False),
        committed("a.tar", 512, 1024, last=True),
        committed("b.tar", 0, 512, last=False),
        committed("c.tar", 512, 1024, last=True),
    ]
    plan = make(SHARDS, records)
    assert {p.shard.path: dict(p.done) for p in plan.pending} == {"b.tar": {0: 512}, "c.tar": {512: 1024}}
    assert plan.before == Counts(images=12, written=4, unchanged=4, rejected=4)
    assert plan.bytes_pending == 3000 - 400
