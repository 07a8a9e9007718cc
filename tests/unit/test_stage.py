"""stage.py: a failure of one image becomes a row with a reason; the other images are untouched."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
import torch

from pipeline.errors import ConfigError, ImageError
from pipeline.records import EncodedImage, ImageRef, Rejected, Unit, UnitBatch
from pipeline.stage import batched, per_image

UNIT = Unit(unit_id="u", shard="s", uri="s", etag="", start=0, stop=1, last=True)


def image(key: str) -> EncodedImage:
    return EncodedImage(ref=ImageRef(image_id=key, key=key, member=key), data=key.encode())


def batch(*keys: str) -> UnitBatch[EncodedImage]:
    return UnitBatch(unit=UNIT, items=tuple(image(key) for key in keys), seconds={"read": 1.0})


def picky(item: EncodedImage) -> EncodedImage:
    if item.data == b"bad":
        raise ImageError("bad_byte", "this one is bad")
    if item.data == b"odd":
        raise ZeroDivisionError("a bug\nwith two lines")
    return item


def test_per_image_rejects_only_the_guilty_and_keeps_the_places() -> None:
    done = per_image(batch("a", "bad", "odd", "b"), "decode", picky, lambda item: b"picture of " + item.data)
    assert [item.ref.key for item in done.items] == ["a", "bad", "odd", "b"]
    bad, odd = done.items[1], done.items[2]
    assert isinstance(bad, Rejected)
    assert isinstance(odd, Rejected)
    assert (bad.stage, bad.reason, bad.detail, bad.preview) == (
        "decode",
        "bad_byte",
        "this one is bad",
        b"picture of bad",
    )
    assert (odd.reason, odd.detail) == ("unexpected", "ZeroDivisionError: a bug")
    assert done.seconds["read"] == 1.0
    assert done.seconds["decode"] > 0


@pytest.mark.parametrize("error", [MemoryError("no more"), torch.OutOfMemoryError("CUDA out of memory. Tried 2 GiB")])
def test_too_little_memory_of_the_host_or_a_gpu_is_named(error: Exception) -> None:
    def work(item: EncodedImage) -> EncodedImage:
        raise error

    (rejected,) = per_image(batch("a"), "segment", work).items
    assert isinstance(rejected, Rejected)
    assert (rejected.reason, rejected.detail) == ("out_of_memory", f"{type(error).__name__}: {error}")


def test_batched_tries_each_alone_when_the_batch_fails() -> None:
    calls: list[int] = []

    def model(items: Sequence[EncodedImage]) -> list[EncodedImage]:
        calls.append(len(items))
        return [picky(item) for item in items]

    done = batched(batch("a", "bad", "b"), "segment", model)
    assert calls == [3, 1, 1, 1]
    assert [isinstance(item, Rejected) for item in done.items] == [False, True, False]


def test_batched_does_not_take_a_wrong_number_of_answers() -> None:
    done: UnitBatch[EncodedImage] = batched(batch("a", "b"), "segment", lambda items: [])
    assert [item.reason for item in done.items if isinstance(item, Rejected)] == ["wrong_count", "wrong_count"]


def test_the_previews_that_are_left_pass_through_every_stage() -> None:
    """`render` takes them; a stage that loses them leaves the report without pictures."""
    first = per_image(replace(batch("a", "bad"), previews=3), "decode", picky)
    second = batched(first, "segment", lambda items: list(items))
    assert (first.previews, second.previews) == (3, 3)


def test_what_was_rejected_before_stays_as_it_is() -> None:
    first = per_image(batch("bad", "a"), "decode", picky)
    second = batched(first, "segment", lambda items: list(items))
    assert second.items == first.items


@pytest.mark.parametrize("run", [per_image, batched])
def test_a_refusal_stops_the_run_instead_of_rejecting_every_image(run: Callable[..., object]) -> None:
    def refuse(_: object) -> None:
        raise ConfigError("no such device")

    with pytest.raises(ConfigError):
        run(batch("a"), "segment", refuse)
