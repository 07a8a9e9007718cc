"""Runs one stage over a batch: times it, and turns what goes wrong with one image into a row with a reason."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from pipeline import watchdog
from pipeline.errors import ImageError, RefusedError, RunError
from pipeline.networks.batches import is_out_of_memory
from pipeline.records import Batch, ImageRef, Rejected


class HasRef(Protocol):
    @property
    def ref(self) -> ImageRef: ...


In = TypeVar("In", bound=HasRef)
Out = TypeVar("Out")


def no_picture(item: HasRef) -> bytes:
    """For stages that must not, or cannot, show a rejected image."""
    return b""


def each(
    batch: Batch[In], stage: str, work: Callable[[In], Out], picture: Callable[[In], bytes] = no_picture
) -> Batch[Out]:
    """`work` on every image alone. An exception rejects that image; `picture` may show it in the report."""
    started = time.perf_counter()
    items = tuple(item if isinstance(item, Rejected) else _one(item, stage, work, picture) for item in batch.items)
    return _timed(batch, items, stage, started)


def together(
    batch: Batch[In],
    stage: str,
    work: Callable[[Sequence[In]], Sequence[Out]],
    picture: Callable[[In], bytes] = no_picture,
) -> Batch[Out]:
    """`work` on all images at once, as models want it. When that raises, each image is tried alone: only the guilty
    are rejected."""
    started = time.perf_counter()
    live = [item for item in batch.items if not isinstance(item, Rejected)]
    watchdog.expect(len(live))
    try:
        answers = list(work(live)) if live else []
        if len(answers) != len(live):
            raise ImageError("wrong_count", f"{stage} answered {len(answers)} of {len(live)} images")
    except (RefusedError, RunError):
        raise
    except Exception:
        return each(batch, stage, lambda item: _only(work([item])), picture)
    rest = iter(answers)
    items = tuple(item if isinstance(item, Rejected) else next(rest) for item in batch.items)
    return _timed(batch, items, stage, started)


def _only(answers: Sequence[Out]) -> Out:
    if len(answers) != 1:
        raise ImageError("wrong_count", f"{len(answers)} answers for one image")
    return answers[0]


def _one(item: In, stage: str, work: Callable[[In], Out], picture: Callable[[In], bytes]) -> Out | Rejected:
    watchdog.expect()
    try:
        return work(item)
    except ImageError as error:
        reason, detail = error.reason, error.detail
    except (RefusedError, RunError):
        raise
    except Exception as error:  # fail closed: whatever a codec or a model throws, the original is not passed through
        reason = "out_of_memory" if is_out_of_memory(error) else "unexpected"
        detail = f"{type(error).__name__}: {error}".splitlines()[0][:500]
    return Rejected(ref=item.ref, stage=stage, reason=reason, detail=detail, preview=picture(item))


def _timed(batch: Batch[In], items: tuple[Out | Rejected, ...], stage: str, started: float) -> Batch[Out]:
    watchdog.expect(0)
    seconds = {**batch.seconds, stage: batch.seconds.get(stage, 0.0) + time.perf_counter() - started}
    return Batch(unit=batch.unit, items=items, seconds=seconds)
