"""`segfill audit OUT`: the privacy receipt of a finished anonymize run, by another detector (MTCNN).

Writes audit/receipt.json into the output (names and numbers, no pixels); what the run's own receipt says of its
canaries stays in it. Exit codes: 0 passed, 1 it could not go on, 2 refused, 3 a face above max_residual, metadata, an
unreadable image, or a canary that was not removed.
"""

from __future__ import annotations

import contextlib
import json
import sys
from functools import partial
from typing import Final, cast

from omegaconf import DictConfig

from jobs import entry
from pipeline import build, life
from pipeline.audit.receipt import PATH, Canaries, read
from pipeline.audit.run_audit import Audit
from pipeline.credentials import redact
from pipeline.errors import EXIT_OK, EXIT_REJECTED, ConfigError, OutputError, RunError
from pipeline.ledger.ledger import MANIFEST
from pipeline.spec import spec
from pipeline.storage.store import Store, open_store


@spec
class AuditKeys(Audit):
    """The keys of conf/audit.yaml."""

    uri: str
    """The run's output."""


KEYS: Final = AuditKeys
main = partial(entry.main, "audit")


def run(config: DictConfig) -> int:
    settings = build.plain(config, "audit")
    uri = str(settings.pop("uri"))
    if settings["sample"] == 0:
        raise ConfigError("audit.sample: expected a number of images, or a share such as 0.1 (1.0: all), got 0")
    audit = cast("Audit", build.construct(settings, "audit", ("pipeline",)))
    store, planted = open_store(uri), Canaries(note="none planted: only a run plants them")
    _refuse_originals(store)
    audit.check_sheet(store)
    with contextlib.suppress(FileNotFoundError):
        planted = read(store.read(PATH), store.join(PATH)).canaries
    receipt = audit.inspect(store, audit.mtcnn.load("cpu", 1), planted)
    if not receipt.published:
        raise RunError(
            f"{store.join('rendered')}: no images to audit; was it made with sink=none, or is it another run?"
        )
    life.say(redact(receipt.text()))
    for problem in receipt.problems():
        entry.say("audit", f"{problem}; look before you publish this output", EXIT_REJECTED)
    return EXIT_REJECTED if receipt.problems() else EXIT_OK


def _refuse_originals(store: Store) -> None:
    """Raise OutputError for the output of a run that filled no faces: to pass it would mislead. An output without a
    manifest may be a copy of the published images, and is audited."""
    with contextlib.suppress(FileNotFoundError):
        config = json.loads(store.read(MANIFEST))["config"]
        job = json.loads(config.get("job", '"of another version"'))
        labels = json.loads(config.get("select.labels", "[]"))
        looked_for = any(key.startswith(("segment.faces.", "segment.mtcnn.")) for key in config)
        faces = config.get("private") == "true" or "face" in labels or (looked_for and not labels)
        if not faces or config.get("fill._target_") == json.dumps("pipeline.fill.none.NoFill"):
            raise OutputError(
                f"{store.uri}: this output was never anonymized (its run, {job}, filled no faces); "
                "the audit looks for what segfill anonymize removes"
            )


if __name__ == "__main__":
    sys.exit(main())
