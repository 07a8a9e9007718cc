"""The progress line is right about how far a run is, on a terminal and in a log file."""

import io

import pytest

from pipeline.report.progress import Progress, duration
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


def test_log_gets_a_plain_line_every_ten_seconds_and_one_at_the_end() -> None:
    stream, clock = io.StringIO(), Clock()
    with Progress(1000, 0, stream, clock) as progress:
        for _ in range(25):
            clock.now += 1.0
            progress.advance(committed(written=20))
    assert lines_of(stream) == [
        "200 of 1,000 images  20.0 images/s  0 rejected  about 40 s left",
        "400 of 1,000 images  20.0 images/s  0 rejected  about 30 s left",
        "500 of 1,000 images  20.0 images/s  0 rejected  took 25 s",
    ]


def test_unknown_number_of_images_goes_by_bytes() -> None:
    stream, clock = io.StringIO(), Clock()
    progress = Progress(None, 4000, stream, clock)
    clock.now += 10.0
    progress.advance(committed(written=50, rejected=1, bytes_in=1000))
    progress.close()
    assert lines_of(stream) == [
        "51 images (25% of the bytes)  5.1 images/s  1 rejected  about 30 s left",
        "51 images (25% of the bytes)  5.1 images/s  1 rejected  took 10 s",
    ]


def test_nothing_known_promises_nothing() -> None:
    stream, clock = io.StringIO(), Clock()
    progress = Progress(None, 0, stream, clock)
    clock.now += 10.0
    progress.advance(committed(written=5))
    assert lines_of(stream) == ["5 images  0.5 images/s  0 rejected  time left: not known yet"]


def test_speed_and_time_left_forget_a_slow_start() -> None:
    stream, clock = io.StringIO(), Clock()
    progress = Progress(10_000, 0, stream, clock)
    clock.now += 300.0  # loading models on a cold cluster
    progress.advance(committed(written=1))
    for _ in range(30):
        clock.now += 10.0
        progress.advance(committed(written=100))
    assert lines_of(stream)[-1] == "3,001 of 10,000 images  10.0 images/s  0 rejected  about 11 min 40 s left"


def test_terminal_rewrites_one_line_and_stays_within_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    stream, clock = Terminal(), Clock()
    with Progress(1000, 0, stream, clock) as progress:
        for _ in range(10):
            clock.now += 0.05  # two commits between two drawings
            progress.advance(committed(written=1))
    text = stream.getvalue()
    assert text.count("\n") == 1
    assert text.endswith("\n")
    drawn = text.removesuffix("\n").split("\r")[1:]
    assert 4 <= len(drawn) <= 8
    assert all(line.endswith("\x1b[K") for line in drawn)
    assert all(len(line.removesuffix("\x1b[K")) < 40 for line in drawn[:-1])
    assert drawn[-1].startswith("10 of 1,000 images  20.0 images/s")


def test_the_last_line_comes_after_an_error_too_and_only_once() -> None:
    stream = io.StringIO()
    progress = Progress(10, 0, stream, Clock())
    with pytest.raises(KeyError), progress:
        raise KeyError("x")
    progress.close()
    assert lines_of(stream) == ["0 of 10 images  0.0 images/s  0 rejected  took 0.0 s"]


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
