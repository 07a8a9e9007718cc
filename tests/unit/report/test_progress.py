"""The progress line lives, is right about how far a run is, and leaves room for other lines."""

import io
import os
import sys
import threading
import time

import pytest

from pipeline import life
from pipeline.report import progress as progress_module
from pipeline.report.progress import Progress, duration, showing
from tests.fakes.commit_records import committed


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def lines_of(stream: io.StringIO) -> list[str]:
    return stream.getvalue().splitlines()


def drawn(stream: io.StringIO) -> list[str]:
    """What stood on the terminal, one after the other."""
    return [line for line in stream.getvalue().replace("\x1b[K", "").split("\r") if line]


def test_log_gets_a_plain_line_every_ten_seconds_and_one_at_the_end() -> None:
    stream, clock = io.StringIO(), Clock()
    with Progress(stream, clock, ticking=False) as progress, progress.images(1000, 0):
        for _ in range(25):
            clock.now += 1.0
            progress.advance(committed(written=20))
    assert lines_of(stream) == [
        "200 of 1,000 images  20.0 images/s  0 rejected  about 40 s left",
        "400 of 1,000 images  20.0 images/s  0 rejected  about 30 s left",
        "500 images (100%)  20.0 images/s  0 rejected  took 25 s",
    ]


def test_unknown_number_of_images_goes_by_bytes_and_ends_at_all_of_them() -> None:
    """A tar holds more than images, so the bytes of all images are less than those of the tar."""
    stream, clock = io.StringIO(), Clock()
    with Progress(stream, clock, ticking=False) as progress, progress.images(None, 4000):
        for rejected in (0, 1):
            clock.now += 10.0
            progress.advance(committed(written=50 - rejected, rejected=rejected, bytes_in=1000))
    assert lines_of(stream) == [
        "50 images (25% of the bytes committed)  5.0 images/s  0 rejected  time left: not known yet",
        "100 images (50% of the bytes committed)  5.0 images/s  1 rejected  about 20 s left",
        "100 images (100%)  5.0 images/s  1 rejected  took 20 s",
    ]


def test_nothing_known_promises_nothing() -> None:
    stream, clock = io.StringIO(), Clock()
    progress = Progress(stream, clock, ticking=False)
    with progress.images(None, 0):
        clock.now += 10.0
        progress.advance(committed(written=5))
        clock.now += 10.0
        progress.advance(committed(written=5))
    assert lines_of(stream)[:2] == [
        "5 images  0.5 images/s  0 rejected  time left: not known yet",
        "10 images  0.5 images/s  0 rejected  time left: not known yet",
    ]


def test_the_estimate_is_that_of_warm_models_only() -> None:
    """Models load for 300 s, then 5 images a second pass: the first estimate is right, and does not come before a unit
    is committed."""
    stream, clock = io.StringIO(), Clock()
    progress = Progress(stream, clock, ticking=False)
    with progress.images(1000, 0):
        clock.now += 300.0
        progress.seen(10)
        for _ in range(6):
            clock.now += 2.0
            progress.seen(10)
        clock.now += 10.0
        progress.advance(committed(written=128))
        clock.now += 20.0
        progress.seen(122)
        clock.now += 10.0
        progress.tick()
    lines = lines_of(stream)
    assert lines[0] == "10 of 1,000 images  0.0 images/s  0 rejected  time left: not known yet"
    assert lines[1] == "60 of 1,000 images  5.0 images/s  0 rejected  time left: not known yet"
    assert lines[-2] == "192 of 1,000 images  4.3 images/s  0 rejected  about 3 min 06 s left"


def test_the_speed_stands_between_two_signs_and_falls_when_none_comes() -> None:
    stream, clock = io.StringIO(), Clock()
    progress = Progress(stream, clock, ticking=False)
    with progress.images(100, 0):
        progress.seen(10)
        clock.now += 10.0
        progress.seen(10)
        clock.now += 9.0
        progress.tick(at_once=True)
        clock.now += 21.0
        progress.tick(at_once=True)
    assert [line.partition("  ")[2].partition("  ")[0] for line in lines_of(stream)[-3:-1]] == [
        "1.0 images/s",
        "0.2 images/s",
    ]


def test_speed_and_time_left_forget_a_slow_start() -> None:
    stream, clock = io.StringIO(), Clock()
    progress = Progress(stream, clock, ticking=False)
    with progress.images(10_000, 0):
        clock.now += 300.0  # loading models on a cold cluster
        progress.advance(committed(written=1))
        for _ in range(30):
            clock.now += 10.0
            progress.advance(committed(written=100))
    assert lines_of(stream)[-2] == "3,001 of 10,000 images  10.0 images/s  0 rejected  about 11 min 40 s left"


def test_more_signs_than_images_are_no_more_than_all() -> None:
    """A worker that died has told of images that another one sees again."""
    stream, clock = io.StringIO(), Clock()
    progress = Progress(stream, clock, ticking=False)
    with progress.images(20, 0):
        progress.seen(15)
        clock.now += 10
        progress.advance(committed(written=4))
        progress.seen(15)
        progress.tick(at_once=True)
    assert lines_of(stream)[-2].startswith("20 of 20 images")
    assert "writing the last ones" in lines_of(stream)[-2]


def test_terminal_rewrites_one_line_and_stays_within_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    stream, clock = Terminal(), Clock()
    with Progress(stream, clock, ticking=False) as progress:
        progress.phase("loading models")
        with progress.images(1000, 0):
            for _ in range(10):
                clock.now += 0.05  # two commits between two drawings
                progress.advance(committed(written=1))
    assert stream.getvalue().count("\n") == 1
    shown = drawn(stream)
    assert shown[0] == "loading models  0.0 s"
    assert 4 <= len(shown) <= 8
    assert all(len(line) < 40 for line in shown[:-1])
    assert shown[-1].startswith("10 images (100%)  20.0 images/s")


def test_phases_are_named_with_their_seconds_until_images_pass() -> None:
    stream, clock = Terminal(), Clock()
    with Progress(stream, clock, ticking=False) as progress:
        life.phase("listing photos")
        clock.now += 2.5
        progress.tick()
        with progress.images(4, 0):
            life.phase("loading models")
            life.seen(2)
            clock.now += 1
            life.seen(1)
        life.phase("auditing 1 of 2 published images")
    assert drawn(stream) == [
        "listing photos  0.0 s",
        "listing photos  2.5 s",
        "loading models  0.0 s",
        "3 of 4 images  1.0 images/s  0 rejected  time left: not known yet",
        "0 images (100%)  0.0 images/s  0 rejected  took 1.0 s\n",
        "auditing 1 of 2 published images  0.0 s",
    ]
    assert stream.getvalue().endswith("\r\x1b[K")  # nothing is left standing


def test_a_log_hears_of_a_long_phase_and_of_no_short_one() -> None:
    stream, clock = io.StringIO(), Clock()
    with Progress(stream, clock, ticking=False) as progress:
        life.phase("listing")
        clock.now += 9
        life.phase("reading")
        progress.tick()
        clock.now += 11
        progress.tick()
    assert lines_of(stream) == ["reading  11 s"]


def test_a_line_of_its_own_does_not_run_into_the_progress() -> None:
    stream, out = Terminal(), io.StringIO()
    with Progress(stream, Clock(), ticking=False):
        life.phase("reading")
        life.say("annotate: 1 shard", out)
        assert stream.getvalue().endswith("\r\x1b[K")
        assert out.getvalue() == "annotate: 1 shard\n"
    life.say("after", out)
    assert out.getvalue().endswith("after\n")


def test_the_last_line_comes_after_an_error_too_and_claims_no_end() -> None:
    stream, clock = io.StringIO(), Clock()
    progress = Progress(stream, clock, ticking=False)
    with pytest.raises(KeyError), progress, progress.images(10, 0):
        raise KeyError("x")
    assert lines_of(stream) == ["0 of 10 images  0.0 images/s  0 rejected  took 0.0 s"]


def test_a_thread_draws_while_the_run_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress_module, "TICK", 0.02)
    stream = Terminal()
    with Progress(stream) as progress:
        progress.phase("starting Ray")
        assert "segfill-progress" in [thread.name for thread in threading.enumerate()]
        deadline = time.monotonic() + 20
        while len(drawn(stream)) < 3 and time.monotonic() < deadline:
            time.sleep(0.05)
    assert len(drawn(stream)) >= 3
    assert all(line.startswith("starting Ray") for line in drawn(stream))
    assert "segfill-progress" not in [thread.name for thread in threading.enumerate()]


def test_it_is_seen_while_standard_error_is_silenced() -> None:
    """As Ray's start does, at the level of the process."""
    read, write = os.pipe()
    with (
        os.fdopen(write, "w") as stream,
        open(os.devnull) as nothing,
        Progress(stream) as progress,
        progress.images(None, 0),
    ):
        os.dup2(nothing.fileno(), stream.fileno())
    assert b"0 images (100%)" in os.read(read, 1000)
    os.close(read)


def test_one_progress_at_a_time() -> None:
    stream = io.StringIO()
    with showing(stream) as first, showing(sys.stderr) as second:
        assert first is second
    assert life.listener() is None


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0 s"),
        (9.94, "9.9 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (3599.7, "1 h 00 min"),
        (7384, "2 h 03 min"),
    ],
)
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text
