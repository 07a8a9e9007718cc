"""How many images go into one call of a model: fewer when the memory does not suffice, and no image is lost by it."""

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
"""What CUDA, torch's CPU allocator, onnxruntime's arena and C++ say; their exceptions have no type in common. The last
is cuDNN's of a convolution for which no way is left that fits: torch swallows why each did not."""


class Batches:
    """Remembers for each shape how many images fitted, when once they did not: half as many as failed."""

    def __init__(self) -> None:
        self._fits: dict[Hashable, int] = {}

    def each(
        self, positions: Sequence[int], shape: Hashable, most: int, work: Callable[[Sequence[int]], Answer]
    ) -> Iterator[tuple[Sequence[int], Answer]]:
        """`work` on images of one shape, in order, at most `most` at a time: positions and what it answered.

        Raises ImageError (`out_of_memory`) when one alone is too much; any other exception of `work` as it is.
        """
        start = 0
        while start < len(positions):
            some = positions[start : start + min(most, self._fits.get(shape, most))]
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
                continue  # with the exception, what its frames held is gone
            yield some, answer
            start += len(some)


def is_out_of_memory(error: Exception) -> bool:
    """Of the host or of a GPU, from whichever runtime."""
    said = str(error).lower()
    named = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    return named or any(sign in said for sign in _SIGNS)
