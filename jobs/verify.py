"""`segfill verify OUT`: reads every byte of a finished output again and names all that is not as it was.

One line a fault: the object, what is wrong with it, what to do. It finds damage: bits that turned, objects that were
cut, lost, swapped or added, tables that do not fit the images. It cannot find who rewrites an output together with its
seals; the line `seal` that it prints for a sound output, kept elsewhere, can.

Exit codes: 0 all as it was, 1 it could not go on, 2 not a finished output, 3 faults.
"""

from __future__ import annotations

import hashlib
import sys
from functools import partial
from typing import Final

from omegaconf import DictConfig

from jobs import entry
from pipeline import build, life
from pipeline.credentials import redact
from pipeline.errors import EXIT_OK, EXIT_REJECTED
from pipeline.ledger import seals, verify
from pipeline.spec import spec
from pipeline.storage.store import open_store


@spec
class VerifyKeys:
    """The key of conf/verify.yaml."""

    uri: str
    """The run's output."""


KEYS: Final = VerifyKeys
main = partial(entry.main, "verify")


def run(config: DictConfig) -> int:
    store, faults = open_store(str(build.plain(config, "verify")["uri"])), 0
    life.phase(f"verifying {store.uri}")
    for fault in verify.check(store):
        faults += 1
        life.say(redact(" ".join(str(fault).split())))
    if faults:
        return entry.say("verify", f"{store.uri}: {faults} fault{'s' if faults > 1 else ''}", EXIT_REJECTED)
    life.say(f"{store.uri}: as it was written\nseal {hashlib.sha256(store.read(seals.RUN)).hexdigest()}")
    return EXIT_OK


if __name__ == "__main__":
    sys.exit(main())
