"""`python -m jobs.audit uri=OUT`: the privacy receipt of a finished anonymize run, by another detector (MTCNN).

uri=OUT            the run's output
sample=N           images to look at, chosen by a hash of their names; 0 (default): all
score=0.95         detections from this score on count; MTCNN takes wheels and the like for faces below it
max_residual=0     share of the images that may still show it a face
receipt=true       write audit/receipt.json into the output (names and numbers, no pixels)

Exit codes: 0 passed, 1 it could not go on, 2 refused, 3 a face above max_residual, metadata, or an unreadable image.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from pipeline import build, seals
from pipeline.credentials import redact
from pipeline.decode import Decode
from pipeline.errors import (
    EXIT_FAILED,
    EXIT_OK,
    EXIT_REFUSED,
    EXIT_REJECTED,
    ConfigError,
    RefusedError,
    SegfillError,
)
from pipeline.report.audit import audit
from pipeline.segment.mtcnn import Mtcnn
from pipeline.store import open_store


@dataclass(frozen=True, kw_only=True)
class Audit:
    uri: str
    sample: int = 0
    score: float = 0.95
    max_residual: float = 0.0
    receipt: bool = True

    def __post_init__(self) -> None:
        if self.sample < 0:
            raise ConfigError(f"audit.sample: expected a whole number of at least 0, got {self.sample}")
        for key in ("score", "max_residual"):
            if not 0 <= getattr(self, key) <= 1:
                raise ConfigError(f"audit.{key}: expected a number from 0 to 1, got {getattr(self, key)}")


def main(arguments: Sequence[str] | None = None) -> int:
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if {"--help", "-h"} & set(arguments):
        print(__doc__)
        return EXIT_OK
    try:
        return run(_settings(arguments))
    except RefusedError as error:
        return _say(error, EXIT_REFUSED)
    except (SegfillError, OSError) as error:
        return _say(error, EXIT_FAILED)


def run(settings: Audit) -> int:
    node = OmegaConf.to_container(OmegaConf.load(build.CONF / "segment/mtcnn.yaml"))
    detector = cast("Mtcnn", build.construct(cast("dict[str, build.Node]", node)["mtcnn"], "mtcnn", ("pipeline",)))
    store = open_store(settings.uri)
    hot, decoder = detector.load("cpu", 1), Decode(cache_bytes=0).load()
    receipt = audit(store, hot, decoder, sample=settings.sample, score=settings.score)
    print(redact(receipt.text()))
    if settings.receipt:
        seals.put_sealed(store, seals.AUDIT, {"audit/receipt.json": receipt.json()})
    if receipt.passes(settings.max_residual):
        return EXIT_OK
    print("audit: did not pass; do not publish this output before these images were looked at", file=sys.stderr)
    return EXIT_REJECTED


def _settings(arguments: Sequence[str]) -> Audit:
    build.refuse_secrets(arguments)
    try:
        node = cast("build.Node", OmegaConf.to_container(OmegaConf.from_dotlist(list(arguments))))
    except OmegaConfBaseException as error:
        raise ConfigError(f"cannot read the command line: {error}; expected key=value") from error
    settings = {**cast("dict[str, build.Node]", node), "_target_": "jobs.audit.Audit"}
    return cast("Audit", build.construct(settings, "audit", ("jobs",)))


def _say(error: object, code: int) -> int:
    print(redact(f"audit: {' '.join(str(error).split())}"), file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
