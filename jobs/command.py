"""What every command line shares: help, exit codes, one line for what went wrong, no secret on the screen."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Sequence

from pipeline.credentials import redact
from pipeline.errors import (
    EXIT_FAILED,
    EXIT_OK,
    EXIT_REFUSED,
    EXIT_REJECTED,
    RefusedError,
    SegfillError,
    TooManyRejected,
)

EXIT_INTERRUPTED = 130
"""128 + SIGINT, as a shell has it."""


def run(
    name: str,
    work: Callable[[list[str]], int],
    help_text: Callable[[], str],
    arguments: Sequence[str] | None,
    *,
    again: str = "try again",
) -> int:
    """The exit code of `work`, or of the error that ended it. again: what to do when a storage or the user did."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
        if {"--help", "-h"} & set(arguments):
            print(help_text())
            return EXIT_OK
        return work(arguments)
    except RefusedError as error:
        return say(name, error, EXIT_REFUSED)
    except TooManyRejected as error:
        return say(name, error, EXIT_REJECTED)
    except SegfillError as error:
        return say(name, error, EXIT_FAILED)
    except OSError as error:
        return say(name, f"{error}; {again}", EXIT_FAILED)
    except KeyboardInterrupt:
        return say(name, f"interrupted; {again}", EXIT_INTERRUPTED)
    except Exception:  # a fault of ours: shown whole, but whatever it quotes
        print(redact(traceback.format_exc()), file=sys.stderr)
        return EXIT_FAILED


def say(name: str, error: object, code: int) -> int:
    """One line on stderr; returns `code`."""
    print(redact(f"{name}: {' '.join(str(error).split())}"), file=sys.stderr)
    return code
