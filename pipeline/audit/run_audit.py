"""Audits the published images at the end of a run and writes the privacy receipt."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline import life
from pipeline.audit import canaries, contact_sheet
from pipeline.audit.inspect import Detector, LargestFaces, audit
from pipeline.audit.receipt import PATH, AuditLimits, Canaries, Receipt, read
from pipeline.errors import ConfigError, RunError, WeightsError
from pipeline.flow import Flow
from pipeline.image.decode import Decode
from pipeline.ledger import seals
from pipeline.records import Rgb
from pipeline.segment.mtcnn import Mtcnn
from pipeline.spec import FieldError, spec
from pipeline.storage.store import Store, open_store


class Auditor(Protocol):
    """Audits a run; called by the driver."""

    def prepare(self, flow: Flow) -> None:
        """Check settings and fetch weights before anything is written. Raises RefusedError."""

    def receipt(self, flow: Flow, store: Store, *, new: bool) -> Receipt:
        """Inspect the published images. new: this run has published images; else an earlier receipt is returned."""


@spec
class NoAudit:
    """Inspects nothing."""

    def prepare(self, flow: Flow) -> None:
        pass

    def receipt(self, flow: Flow, store: Store, *, new: bool) -> Receipt:
        return Receipt()


@spec
class Audit(AuditLimits):
    """Inspects a sample of the published images with MTCNN, another detector than the run's own."""

    mtcnn: Mtcnn
    """The detector, as in conf/segment/mtcnn.yaml."""
    sheet: str = ""
    """Local path, outside the output, for a JPEG with the largest remaining faces; empty: none is made. It shows faces:
    never publish it."""
    canary: str = ""
    """Local path of a picture whose faces join the bundled canaries; empty: only the bundled ones."""

    def __post_init__(self) -> None:
        for key in ("sheet", "canary"):
            if "://" in getattr(self, key):
                raise FieldError(key, f": expected a local path, got {getattr(self, key)!r}")

    def prepare(self, flow: Flow) -> None:
        if not self.applies_to(flow):
            return
        self.check_sheet(open_store(flow.sink.uri))
        if self.canary and not Path(self.canary).is_file():
            raise ConfigError(f"audit.canary: expected a local picture with faces, got {self.canary!r}")
        try:
            for weights in self.mtcnn.weights:
                weights.fetch()
        except WeightsError as error:
            raise WeightsError(f"{error}; the audit needs these, audit=none runs without it") from error

    def receipt(self, flow: Flow, store: Store, *, new: bool) -> Receipt:
        if not self.applies_to(flow):
            return Receipt()
        with _resumable(store):
            with contextlib.suppress(FileNotFoundError):
                if not new:
                    return read(store.read(PATH), store.join(PATH))
            detector, decoder = self.mtcnn.load("cpu", 1), Decode(cache_bytes=0).load()
            life.phase("auditing known faces that went through the same run")
            planted = canaries.plant(flow, detector, decoder, self.score, self.canary)
            removes_faces = planted.planted > 0
            return self.inspect(store, detector if removes_faces else NoDetector(), planted)

    def inspect(self, store: Store, detector: Detector, planted: Canaries) -> Receipt:
        """Audit, and write the receipt into the output and, if wanted, the contact sheet."""
        largest = LargestFaces()
        limits = AuditLimits(**{key.name: getattr(self, key.name) for key in fields(AuditLimits)})
        found = replace(audit(store, detector, Decode(cache_bytes=0).load(), limits, largest), canaries=planted)
        seals.put_sealed(store, seals.AUDIT, {PATH: found.json()})
        if self.sheet:
            try:
                Path(self.sheet).write_bytes(contact_sheet.draw(list(largest.crops())))
            except OSError as error:
                raise RunError(f"audit.sheet={self.sheet}: {error.strerror or error}") from error
        return found

    def applies_to(self, flow: Flow) -> bool:
        """Return whether there are images to inspect."""
        return bool(self.sample) and flow.sink.images != "none" and bool(flow.render.outputs)

    def check_sheet(self, store: Store) -> None:
        """Raise ConfigError for a sheet inside the output, or in a folder that does not exist."""
        target = Path(self.sheet).absolute()
        if not self.sheet:
            return
        if store.is_local and target.resolve().is_relative_to(Path(store.uri).resolve()):
            raise ConfigError(
                f"audit.sheet: {self.sheet} lies in the output, and the sheet shows faces; choose a path outside it"
            )
        if not target.parent.is_dir():
            raise ConfigError(f"audit.sheet: there is no folder {target.parent}")


class NoDetector:
    """Finds nothing: for a run that removes no faces, of which only metadata is searched."""

    def detect(self, rgb: Rgb) -> NDArray[np.float32]:
        return np.zeros((0, 5), np.float32)


@contextlib.contextmanager
def _resumable(store: Store) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RunError(f"cannot audit {store.uri}: {error}; the same command does it again") from error
