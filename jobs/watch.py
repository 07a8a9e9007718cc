"""`segfill watch OUT`: counts what a run has done, on whatever cluster, until it ends.

It reads the ledger of the output, on disk or in a bucket, and nothing else. `segfill watch OUT --once`, or
`segfill status OUT`, looks twice and stops.

Exit codes: 0 the run has finished, 1 it has not (once), or cannot be read, 2 there is no run.
"""

from __future__ import annotations

import sys
import time
from functools import partial
from typing import Annotated, Final, cast

from omegaconf import DictConfig
from pydantic import Field

from jobs import entry
from pipeline import build, life
from pipeline.cluster import watch
from pipeline.credentials import redact
from pipeline.errors import EXIT_FAILED, EXIT_OK
from pipeline.spec import spec
from pipeline.storage.store import open_store


@spec
class WatchKeys:
    """The keys of conf/watch.yaml."""

    uri: str
    """The run's output."""
    once: bool = False
    """Look twice, for the speed, and stop."""
    seconds: Annotated[float, Field(ge=0)] = 10.0
    """Between two looks; longer where a look itself takes a tenth of it. 0 with once: one look."""


KEYS: Final = WatchKeys
main = partial(entry.main, "watch")


def run(config: DictConfig) -> int:
    keys = cast("WatchKeys", build.made(WatchKeys, "watch", build.plain(config, "watch")))
    store, before = open_store(keys.uri), None
    what = watch.planned(store)
    life.phase(f"watching {store.uri}")
    while True:
        began = time.monotonic()
        now = watch.look(store)
        last = now.finished or (keys.once and (before is not None or not keys.seconds))
        if last or not keys.once:
            life.say(redact("\n".join(watch.lines(what, now, before))))
        if last:
            return EXIT_OK if now.finished else EXIT_FAILED
        before = now
        time.sleep(max(keys.seconds, 10 * (time.monotonic() - began)))


if __name__ == "__main__":
    sys.exit(main())
