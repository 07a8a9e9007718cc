"""The error tree: what stops the run, what fails one shard, what rejects one image.

Every message is one line and says what was expected, what came, which image, key or URI, and what to do next.
"""

from __future__ import annotations

from functools import partial
from typing import Final

EXIT_OK: Final = 0
EXIT_FAILED: Final = 1
EXIT_REFUSED: Final = 2
EXIT_REJECTED: Final = 3


class SegfillError(Exception):
    """Anything that Segfill raises on purpose."""


class RefusedError(SegfillError):
    """The run cannot start as asked: exit code 2, before anything is written or any model is loaded."""


class ConfigError(RefusedError):
    """A key, a choice or a value that cannot work."""


class DeviceError(RefusedError):
    """A GPU that was asked for is not there, or what computes on it is not installed."""


class SourceError(RefusedError):
    """A source that does not exist, is empty, or lacks what the config names."""


class WeightsError(RefusedError):
    """Weights that are missing, of another hash, or of a kind that is not allowed."""


class OutputError(RefusedError):
    """An output that belongs to another run, cannot be written, or whose store lacks conditional create."""


class RunError(SegfillError):
    """The run started and cannot go on (a lost store, a full disk): exit code 1; the same command resumes it."""


class TooManyRejected(RunError):
    """So many images are rejected that the config is the likelier fault: exit code 3; the same command resumes the
    run."""


class ShardError(SegfillError):
    """The rest of one shard cannot be read. What was read before stays; the run goes on with the next shard.

    reason: a stable code such as `tar_truncated`. offset: where the unreadable part begins (bytes or rows).
    """

    def __init__(self, reason: str, detail: str, *, offset: int) -> None:
        super().__init__(f"{reason} at {offset}: {detail}")
        self.reason = reason
        self.detail = detail
        self.offset = offset

    def __reduce__(self) -> tuple[object, ...]:
        # Without this a process that unpickles it (a pool, Ray) dies of a TypeError instead.
        return partial(ShardError, offset=self.offset), (self.reason, self.detail)


class ImageError(SegfillError):
    """One image is rejected; its row in the index carries stage, reason and detail.

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
