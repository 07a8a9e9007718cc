"""All errors that Segfill raises on purpose.

    SegfillError
    +-- RefusedError            stops the run before it writes anything: exit code 2
    |   +-- ConfigError         a key, a choice or a value
    |   +-- DeviceError         a GPU or the runtime for it
    |   +-- SourceError         the source
    |   +-- WeightsError        the weights of a model
    |   +-- OutputError         the output
    +-- RunError                stops a run that has started: exit code 1
    |   +-- TooManyRejected     the same because of rejected images: exit code 3
    +-- ShardError              ends one shard early; the run goes on
    +-- ImageError              rejects one image; the run goes on

A message is one line that says what was expected, what came, in which image, key or URI, and what to do next.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from functools import partial
from typing import Final

EXIT_OK: Final = 0
EXIT_FAILED: Final = 1
EXIT_REFUSED: Final = 2
EXIT_REJECTED: Final = 3


class SegfillError(Exception):
    """Base of all errors that Segfill raises on purpose."""


class RefusedError(SegfillError):
    """The run cannot start as configured. Raised before anything is written or any model is loaded."""


class ConfigError(RefusedError):
    """A key that does not exist, or a choice or value that cannot work."""


class DeviceError(RefusedError):
    """A configured GPU is missing, or the runtime that computes on it is not installed."""


class SourceError(RefusedError):
    """A source that does not exist, is empty, or lacks what the config names, such as a column."""


class WeightsError(RefusedError):
    """Weights that are missing, have another sha256 than configured, or are of a format that is not allowed."""


class OutputError(RefusedError):
    """An output that belongs to another run, cannot be written, or lies in a store without conditional create."""


class RunError(SegfillError):
    """The run has started and cannot go on: a lost store, a full disk. The same command resumes it."""


class TooManyRejected(RunError):
    """The share of rejected images is so high that the config is more likely at fault than the images. The same command
    resumes the run."""


class ShardError(SegfillError):
    """The rest of one shard cannot be read. Images read before it stay; the run goes on with the next shard.

    reason: a stable code such as `tar_truncated`. detail: one line for a person. offset: start of the part that cannot
    be read, in bytes of a tar or rows of a Parquet file.
    """

    def __init__(self, reason: str, detail: str, *, offset: int) -> None:
        super().__init__(f"{reason} at {offset}: {detail}")
        self.reason = reason
        self.detail = detail
        self.offset = offset

    def __reduce__(self) -> tuple[object, ...]:
        # The default calls the class with the message alone: a process that unpickles it would raise TypeError.
        return partial(ShardError, offset=self.offset), (self.reason, self.detail)


class ImageError(SegfillError):
    """One image is rejected. Its row in the index holds stage, reason and detail.

    reason: a stable code such as `truncated` or `too_many_pixels`. detail: one line for a person.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.reason, self.detail)


def one_line(error: BaseException, limit: int = 300) -> str:
    """Return an error's message on one line, at most `limit` characters; its type's name where it has none."""
    return " ".join(str(error).split())[:limit] or type(error).__name__


def nearest(word: str, known: Iterable[str], prefix: str = "") -> str:
    """`; did you mean X?` or `; known here: ...`, for the end of a message."""
    known = sorted(known)
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    if close:
        return f"; did you mean {prefix}{close[0]}?"
    return f"; known here: {', '.join(known[:12])}" if known else ""
