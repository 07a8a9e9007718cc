"""The summary adds up exactly and its exit code says whether too much was rejected."""

from dataclasses import replace

import pytest

from pipeline.records import Counts
from pipeline.report.summary import Summary
from tests.fakes.commit_records import committed

RECORDS = [
    committed(
        "a-0",
        written=6,
        unchanged=3,
        rejected=1,
        rejects=(("decode", "truncated", 1),),
        segments=(("face", 7), ("text", 2)),
        seconds={"read": 0.5, "segment": 2.0},
        bytes_in=1000,
    ),
    committed(
        "b-0",
        shard="b.tar",
        written=4,
        rejected=6,
        failure="tar_truncated",
        rejects=(("decode", "truncated", 4), ("read", "tar_truncated", 1), ("select", "too_much_region", 1)),
        segments=(("text", 5),),
        seconds={"segment": 1.0, "commit": 0.25},
        bytes_in=500,
    ),
]


def test_sums() -> None:
    summary = Summary.of(RECORDS, seconds=5.0, before=10)
    assert summary.counts == Counts(images=20, written=10, unchanged=3, rejected=7)
    assert (summary.units, summary.bytes_in, summary.fresh) == (2, 1500, 10)
    assert summary.images_per_second == 2.0
    assert list(summary.rejects.items())[:2] == [(("decode", "truncated"), 5), (("read", "tar_truncated"), 1)]
    assert list(summary.segments.items()) == [("face", 7), ("text", 7)]
    assert list(summary.stages.items()) == [("read", 0.5), ("segment", 3.0), ("commit", 0.25)]
    assert summary.failed == (("b.tar", "tar_truncated"),)


@pytest.mark.parametrize(
    ("rejected", "failure", "share", "code"),
    [(0, "", 0.0, 0), (1, "", 0.0, 3), (1, "", 0.1, 0), (2, "", 0.1, 3), (1, "tar_truncated", 1.0, 3)],
)
def test_exit_code(rejected: int, failure: str, share: float, code: int) -> None:
    record = committed(written=10 - rejected, rejected=rejected, failure=failure)
    assert Summary.of([record], seconds=1.0).exit_code(share) == code


def test_text() -> None:
    text = Summary.of(RECORDS, seconds=5.0, before=10).text([("report", "out/report/index.html")])
    assert text.splitlines() == [
        "images in       20  10 of them committed by an earlier run",
        "written         10",
        "unchanged        3",
        "rejected         7  decode: truncated 5, read: tar_truncated 1, select: too_much_region 1",
        "images/s       2.0  10 in 5.0 s",
        "segments        14  face 7, text 7",
        "failed shards    1  b.tar (tar_truncated)",
        "report         out/report/index.html",
    ]


def test_samples_with_several_images_are_named_by_their_fields() -> None:
    assert "samples" not in Summary.of(RECORDS, seconds=1.0).text()
    units = [(3, 2, {"left.jpg": 2, "right.jpg": 2}), (1, 1, {"a": 1, "b": 1, "c": 1, "d": 1, "right.jpg": 5})]
    records = [
        replace(r, unit=replace(r.unit, samples=samples, several=several, fields=fields))
        for r, (samples, several, fields) in zip(RECORDS, units, strict=True)
    ]
    lines = Summary.of(records, seconds=1.0).text().splitlines()
    assert lines[1] == "samples        3 of 4 hold several images (right.jpg 7, left.jpg 2, a 1, b 1, c 1, and 1 more)"


def test_a_run_that_only_labels_has_its_own_words() -> None:
    lines = Summary.of(RECORDS, seconds=5.0, fills=False).text().splitlines()
    assert lines[:4] == [
        "images in       20",
        "labelled        10",
        "nothing found    3",
        "rejected         7  decode: truncated 5, read: tar_truncated 1, select: too_much_region 1",
    ]


def test_a_finished_output_claims_no_speed() -> None:
    summary = Summary.of(RECORDS, seconds=0.2, before=20)
    assert summary.images_per_second == 0.0
    assert "images/s        -  nothing left to do" in summary.text()


def test_nothing_at_all() -> None:
    summary = Summary.of([], seconds=0.0)
    assert summary.counts == Counts()
    assert summary.exit_code(0.0) == 0
    assert summary.text().startswith("images in  0")


def test_long_lists_are_counted_and_names_cannot_steer_the_terminal() -> None:
    records = [
        committed(f"u-{i}", shard=f"s{i}\x1b[2J\n.tar", rejected=1, failure="bad", rejects=(("read", f"r{i}", 1),))
        for i in range(8)
    ]
    text = Summary.of(records, seconds=1.0).text()
    assert "read: r4 1, and 3 more" in text
    assert "s4?[2J?.tar (bad), and 3 more" in text
    assert "\x1b" not in text
