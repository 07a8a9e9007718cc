"""Workers leave numbers, the driver adds them up, and nothing that fails there is noticed by the run."""

import time
from pathlib import Path

import pytest

from pipeline import life
from pipeline.execute import ray_signs
from pipeline.execute.ray_signs import Told, relayed
from pipeline.report.progress import Progress


class Shelf:
    """Where workers leave their numbers, which may be out of reach."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}
        self.broken = False

    def put(self, worker: str, images: int) -> None:
        if self.broken:
            raise ConnectionError("the head is away")
        self.numbers[worker] = images

    def total(self) -> int:
        if self.broken:
            raise ConnectionError("the head is away")
        return sum(self.numbers.values())


class Heard(Progress):
    """What the driver is told."""

    def __init__(self) -> None:
        super().__init__(ticking=False)
        self.images_seen: list[int] = []

    def seen(self, images: int) -> None:
        self.images_seen.append(images)


def test_a_worker_leaves_its_sum_now_and_then() -> None:
    shelf, now = Shelf(), [0.0]
    worker = Told(lambda images: shelf.put("a", images), lambda: now[0])
    left = []
    for seconds, images in [(0.0, 4), (0.1, 4), (0.4, 4), (0.6, 4), (9.0, 1)]:
        now[0] = seconds
        worker.seen(images)
        left.append(shelf.numbers["a"])
    assert left == [4, 4, 4, 16, 17]


def test_a_shelf_out_of_reach_stops_no_worker() -> None:
    shelf = Shelf()
    worker = Told(lambda images: shelf.put("a", images), lambda: 0.0)
    shelf.broken = True
    worker.seen(4)
    worker.phase("loading models")
    assert shelf.numbers == {}


def test_the_driver_tells_what_is_new_and_outlives_a_broken_shelf(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_signs, "LOOK_EVERY", 0.01)
    shelf, heard = Shelf(), Heard()
    shelf.broken = True
    with life.listening(heard), relayed(shelf.total):
        time.sleep(0.05)
        shelf.broken = False
        for worker, images in [("a", 4), ("b", 6), ("a", 9)]:
            shelf.put(worker, images)
            deadline = time.monotonic() + 20
            while sum(heard.images_seen) < shelf.total() and time.monotonic() < deadline:
                time.sleep(0.01)
    assert heard.images_seen == [4, 6, 5]


def test_a_worker_still_prints_what_it_is_asked_to(tmp_path: Path) -> None:
    with (tmp_path / "out").open("w") as out:
        Told(print).say("a line", out)
    assert (tmp_path / "out").read_text() == "a line\n"
