from pipeline.errors import ShardError
from pipeline.records import ImageRef, Rejected, Shard, Sidecar
from pipeline.source.unit import ENDED, UnitBuilder, UnitLimits, next_uncommitted

SHARD = Shard(path="d/a.tar", uri="/x/d/a.tar", size=10, etag="e")
REF = ImageRef(image_id="i", key="k", member="k.jpg")


def test_the_next_uncommitted_position_lies_behind_a_chain_of_committed_units() -> None:
    assert next_uncommitted(0, {}) == 0
    assert next_uncommitted(0, {0: 10, 10: 25, 40: 50}) == 25
    assert next_uncommitted(40, {0: 10, 10: 25, 40: 50}) == 50
    assert next_uncommitted(0, {0: 10, 10: 10}) == ENDED  # a failure: nothing follows
    assert next_uncommitted(0, {0: 0}) == ENDED


def test_sidecars_and_rejects_fill_a_unit_too() -> None:
    by_bytes = UnitBuilder(shard=SHARD, start=0, limits=UnitLimits(uri="x", unit_bytes=10))
    full = []
    for data, sidecars in ((b"12345", (Sidecar(name="txt", data=b"1234"),)), (b"1", ())):
        by_bytes.image(REF, data, sidecars)
        full.append(by_bytes.full)
    assert full == [False, True]
    by_rows = UnitBuilder(shard=SHARD, start=0, limits=UnitLimits(uri="x", unit_images=1))
    by_rows.reject(REF, "no_image_member", "why")
    assert by_rows.full


def test_a_unit_counts_samples_and_the_fields_of_those_with_several_images() -> None:
    unit = UnitBuilder(shard=SHARD, start=0, limits=UnitLimits(uri="x"))
    for fields in (["jpg"], [], ["left.jpg", "right.jpg"], ["right.jpg", "left.jpg", "top.jpg"]):
        unit.sample(fields)
    made = unit.batch(stop=9, last=True).unit
    assert (made.samples, made.several) == (3, 2)
    assert list(made.fields.items()) == [("left.jpg", 2), ("right.jpg", 2), ("top.jpg", 1)]
    many = UnitBuilder(shard=SHARD, start=0, limits=UnitLimits(uri="x"))
    many.sample([f"{i:03d}.jpg" for i in range(1000)])
    assert list(many.batch(stop=9, last=True).unit.fields) == [f"{i:03d}.jpg" for i in range(100)]


def test_a_failed_unit_says_why_and_where() -> None:
    unit = UnitBuilder(shard=SHARD, start=7, limits=UnitLimits(uri="x"))
    unit.image(REF, b"1")
    batch = unit.failed(ShardError("tar_truncated", "cut", offset=99))
    assert (batch.unit.start, batch.unit.stop, batch.unit.last, batch.unit.failure) == (7, 7, True, "tar_truncated")
    row = batch.items[-1]
    assert isinstance(row, Rejected)
    assert (row.ref.key, row.reason, row.detail) == ("d/a.tar@99", "tar_truncated", "cut")
