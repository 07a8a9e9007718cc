"""What is said of a run comes from its ledger; speed and time left from two looks at known times."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.cluster.watch import Look, Planned, lines, look, planned
from pipeline.errors import OutputError
from pipeline.ledger.ledger import ATTEMPTS
from pipeline.records import Counts
from pipeline.storage.store import open_store
from tests.fakes.drawn_images import folder_of
from tests.fakes.job_run import run

WHAT = Planned(job="clean", shards=40, size=10_000)
FIRST = Look(
    at=100.0,
    units=10,
    shards=5,
    size=1_000,
    counts=Counts(images=1_000, written=700, unchanged=290, rejected=10),
    hosts={"b": 400, "a": 600},
    rejects={"decode: truncated": 8, "fill: timed_out": 2},
    trying={"a": 2},
    finished=False,
)
SECOND = replace(
    FIRST, at=160.0, size=2_500, counts=Counts(images=2_500, written=2_000, unchanged=490, rejected=10), trying={}
)


def test_the_speed_and_the_time_left_are_those_between_two_looks() -> None:
    assert list(lines(WHAT, SECOND, FIRST)) == [
        "clean, not finished: 5 of 40 shards, 10 units committed",
        "images     2,500: 2,000 written, 490 unchanged, 10 rejected, 0.4%",
        "speed      25.0 images/s over 60 s, 25% of the bytes, about 5 min left",  # 7,500 bytes at 25 a second
        "by host    a 600, b 400",
        "rejected   decode: truncated 8, fill: timed_out 2",
    ]


def test_one_look_has_no_speed_and_a_standstill_is_said() -> None:
    (alone,) = [line for line in lines(WHAT, FIRST) if line.startswith("speed")]
    assert alone == "speed      not measured; a second look tells"
    (still,) = [line for line in lines(WHAT, replace(FIRST, at=130.0), FIRST) if line.startswith("speed")]
    assert still == "speed      0.0 images/s over 30 s: nothing was committed meanwhile"
    assert "at work    a 2 (attempts that go on, or whose worker died)" in list(lines(WHAT, FIRST))


def test_many_hosts_are_summed_up() -> None:
    many = replace(FIRST, hosts={f"h{number}": 100 - number for number in range(8)}, finished=True)
    said = list(lines(WHAT, many))
    assert "by host    h0 100, h1 99, h2 98, h3 97, h4 96, 3 others 282" in said
    assert not [line for line in said if line.startswith("speed")]


def test_a_look_counts_what_a_run_committed(tmp_path: Path) -> None:
    source, out = folder_of(tmp_path / "in", range(6), 48, 64), tmp_path / "out"
    (source / "cut.png").write_bytes((source / "0.png").read_bytes()[:60])
    keys = ["segment=[faces]", "plugins=[tests]", "segment.faces._target_=tests.fakes.slow_stages.SlowFaces"]
    keys += ["execute=local", "source.unit_images=2", "max_reject_share=1"]
    run("annotate", source, out, *keys, "limit=3")
    store = open_store(str(out))
    half = look(store)
    assert (half.finished, half.counts.images) == (False, 3)
    store.put(f"{ATTEMPTS}/unit-whole-1.json", json.dumps({"host": "lost-one", "pid": 1}).encode())
    assert look(store).trying == {"lost-one": 1}

    ended = run("annotate", source, out, *keys)
    assert ended.code == 0
    whole = look(store)
    what = planned(store)
    assert (what.job, what.shards) == ("annotate", whole.shards)
    assert what.size == sum(path.stat().st_size for path in source.iterdir()) == whole.size
    assert (whole.finished, whole.counts.images, whole.counts.rejected) == (True, 7, 1)
    assert sum(whole.hosts.values()) == 7
    assert sum(whole.rejects.values()) == 1
    assert whole.units == len(list((out / "_commit").iterdir()))


def test_where_no_run_has_begun_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="no run has begun there"):
        planned(open_store(str(tmp_path)))
