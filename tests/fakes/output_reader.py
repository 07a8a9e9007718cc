"""A reader of an output while it is written, and the faults that it must never see."""

from __future__ import annotations

import hashlib
import io
import threading
import time

import pyarrow.parquet as pq

from pipeline.ledger.ledger import Ledger
from pipeline.records import Committed, FileEntry
from pipeline.storage.store import Store, open_store


def seen(uri: str) -> list[str]:
    """The faults that a reader of the commit records sees now. A loose file may appear a moment after its record, but
    never with other bytes."""
    store = open_store(uri)
    faults = []
    for unit, record in Ledger(store).committed().items():
        for entry in record.files:
            faults += [f"unit {unit}: {fault}" for fault in _faults(store, entry, must=True)]
        for entry in record.loose:
            faults += [f"unit {unit}: {fault}" for fault in _faults(store, entry, must=False)]
        faults += [f"unit {unit}: {fault}" for fault in _mixed(store, record)]
    return faults


def _faults(store: Store, entry: FileEntry, *, must: bool) -> list[str]:
    try:
        data = store.read(entry.path)
    except FileNotFoundError:
        return [f"{entry.path} is missing"] if must else []
    return [] if hashlib.sha256(data).hexdigest() == entry.sha256 else [f"{entry.path} has other bytes"]


def _mixed(store: Store, record: Committed) -> list[str]:
    """The index names, for each written image, the hash of the loose file that its masks belong to."""
    [index] = [entry.path for entry in record.files if entry.path.startswith("images/")]
    rows = pq.read_table(io.BytesIO(store.read(index))).to_pylist()
    loose = {entry.path: entry.sha256 for entry in record.loose}
    return [
        f"{row['output']} is of another attempt"
        for row in rows
        if row["output"] and loose.get(row["output"]) != row["output_sha256"]
    ]


class Reader:
    """Reads repeatedly in a thread while a `with` block lasts."""

    def __init__(self, uri: str) -> None:
        self.faults: list[str] = []
        self.reads = 0
        self._uri, self._over = uri, threading.Event()
        self._thread = threading.Thread(target=self._read, name="reader")

    def __enter__(self) -> Reader:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _read(self) -> None:
        while not self._over.is_set() and not self.faults:
            try:
                self.faults += seen(self._uri)
            except FileNotFoundError:
                pass  # nothing is there yet
            except Exception as error:
                self.faults.append(f"{type(error).__name__}: {error}")
            self.reads += 1
            time.sleep(0.02)
