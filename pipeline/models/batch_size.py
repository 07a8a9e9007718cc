"""Batches that shrink when memory runs out, without losing an image."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Final, TypeVar

from pipeline.errors import ImageError, one_line

Answer = TypeVar("Answer")

_SIGNS: Final = (
    "out of memory",
    "allocate memory",
    "failed to allocate",
    "bad_alloc",
    "bad allocation",
    "alloc_failed",
    "unable to find an engine",
)
"""Parts of the messages of CUDA, torch's CPU allocator, onnxruntime's arena and C++; their exceptions share no type.
The last is cuDNN's for a convolution none of whose algorithms fits into memory: torch swallows the cause of each."""


class Batches:
    """Remembers for each shape that ran out of memory how many images to try: half as many as failed."""

    def __init__(self) -> None:
        self._fits: dict[Hashable, int] = {}

    def each(
        self, positions: Sequence[int], shape: Hashable, batch: int, work: Callable[[Sequence[int]], Answer]
    ) -> Iterator[tuple[Sequence[int], Answer]]:
        """Call `work` on images of one shape, in order, at most `batch` at a time; yield positions and answers.

        Raises ImageError (`out_of_memory`) when a single image is too much; other exceptions of `work` pass through.
        """
        start = 0
        while start < len(positions):
            some = positions[start : start + min(batch, self._fits.get(shape, batch))]
            try:
                answer = work(some)
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                if len(some) == 1:
                    raise ImageError(
                        "out_of_memory", f"the model, with one image of {shape}: {one_line(error, 200)}"
                    ) from error
                self._fits[shape] = len(some) // 2
                continue  # leaving `except` frees what the frames of the exception held
            yield some, answer
            start += len(some)


def is_out_of_memory(error: Exception) -> bool:
    """Whether an exception of any runtime means that the host or a GPU is out of memory."""
    message = str(error).lower()
    named = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    return named or any(sign in message for sign in _SIGNS)
