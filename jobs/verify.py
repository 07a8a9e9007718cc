"""`python -m jobs.verify uri=OUT`: reads every byte of a finished output again and names all that is not as it was.

uri=OUT   the run's output

One line a fault: the object, what is wrong with it, what to do. It finds damage: bits that turned, objects that were
cut, lost, swapped or added, tables that do not fit the images. It cannot find who rewrites an output together with its
seals; the line `seal` that it prints for a sound output, kept elsewhere, can.

Exit codes: 0 all as it was, 1 it could not go on, 2 not a finished output, 3 faults.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Sequence

from jobs import command
from pipeline import build
from pipeline.credentials import redact
from pipeline.errors import EXIT_OK, EXIT_REJECTED, ConfigError
from pipeline.ledger import seals, verify
from pipeline.storage.store import open_store


def main(arguments: Sequence[str] | None = None) -> int:
    return command.run("verify", lambda given: run(_uri(given)), lambda: __doc__ or "", arguments)


def run(uri: str) -> int:
    store, faults = open_store(uri), 0
    for fault in verify.check(store):
        faults += 1
        print(redact(" ".join(str(fault).split())), flush=True)
    if faults:
        return command.say("verify", f"{store.uri}: {faults} fault{'s' if faults > 1 else ''}", EXIT_REJECTED)
    print(f"{store.uri}: as it was written\nseal {hashlib.sha256(store.read(seals.RUN)).hexdigest()}")
    return EXIT_OK


def _uri(arguments: Sequence[str]) -> str:
    build.refuse_secrets(arguments)
    match arguments:
        case [argument] if argument.startswith("uri=") and argument != "uri=":
            return argument.removeprefix("uri=")
    raise ConfigError(f"expected uri=OUT and nothing else, got {' '.join(arguments) or 'nothing'}")


if __name__ == "__main__":
    sys.exit(main())
