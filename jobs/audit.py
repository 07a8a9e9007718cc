"""`python -m jobs.audit uri=OUT`: the privacy receipt of a finished anonymize run, by another detector (MTCNN).

uri=OUT            the run's output
sample=1.0         images to look at, chosen by a hash of their names: how many, or a share (default 1.0: all)
score=0.95         detections from this score on count; MTCNN takes wheels and the like for faces below it
min_face_px=20      pixels; smaller faces are reported, but pass: nobody can be recognised by them
max_residual=0.0   share of the images that may still show it a face
sheet=PATH         a local JPEG, outside the output, for the faces that are left; it shows them

Writes audit/receipt.json into the output (names and numbers, no pixels); what the run's own receipt says of its
canaries stays in it. Exit codes: 0 passed, 1 it could not go on, 2 refused, 3 a face above max_residual, metadata, an
unreadable image, or a canary that was not removed.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence
from typing import cast

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from jobs import command
from pipeline import build
from pipeline.audit.receipt import PATH, Canaries, read
from pipeline.audit.run_audit import Audit
from pipeline.credentials import redact
from pipeline.errors import EXIT_OK, EXIT_REJECTED, ConfigError, RunError
from pipeline.storage.store import open_store


def main(arguments: Sequence[str] | None = None) -> int:
    return command.run("audit", lambda given: run(*_settings(given)), lambda: __doc__ or "", arguments)


def run(uri: str, audit: Audit) -> int:
    store, planted = open_store(uri), Canaries(note="none planted: only a run plants them")
    audit.check_sheet(store)
    with contextlib.suppress(FileNotFoundError):
        planted = read(store.read(PATH), store.join(PATH)).canaries
    receipt = audit.look(store, audit.mtcnn.load("cpu", 1), planted)
    if not receipt.published:
        raise RunError(
            f"{store.join('rendered')}: no images to audit; was it made with sink=none, or is it another run?"
        )
    print(redact(receipt.text()))
    for problem in receipt.problems():
        command.say("audit", f"{problem}; look before you publish this output", EXIT_REJECTED)
    return EXIT_REJECTED if receipt.problems() else EXIT_OK


def _settings(arguments: Sequence[str]) -> tuple[str, Audit]:
    build.refuse_secrets(arguments)
    try:
        given = cast("dict[str, build.Node]", OmegaConf.to_container(OmegaConf.from_dotlist(list(arguments))))
    except OmegaConfBaseException as error:
        raise ConfigError(f"cannot read the command line: {error}; expected key=value") from error
    uri = given.pop("uri", None)
    if not isinstance(uri, str) or not uri:
        raise ConfigError("audit.uri is required: give uri=OUT, the output of an anonymize run")
    files = [OmegaConf.load(build.CONF / path) for path in ("segment/mtcnn.yaml", "audit/mtcnn.yaml")]
    node = cast("dict[str, build.Node]", OmegaConf.to_container(OmegaConf.merge(*files, {"sample": 1.0})))
    del node["defaults"], node["canary"]
    if given.get("sample") == 0:
        raise ConfigError("audit.sample: expected a number of images, or a share such as 0.1 (1.0: all), got 0")
    return uri, cast("Audit", build.construct({**node, **given}, "audit", ("pipeline",)))


if __name__ == "__main__":
    sys.exit(main())
