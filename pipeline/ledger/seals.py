"""Seals the objects that no commit record names: the records themselves, the report, a receipt.

A seal is a list of hashes, `_run/<name>.sha256`, that `sha256sum -c` reads too. Its first line, a comment to that
program, holds its name and the hash of the lines below, which tells a damaged list from a damaged object. A seal
reveals accidental changes and those of a person who does not know of it; if both are rewritten, only a copy of the seal
kept elsewhere reveals that.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Final

from pipeline.storage.store import Store

RUN: Final = "_run/run.sha256"
"""Seal of the manifest, the config, the notes (README.md, classes.json), SUCCESS.json, the commit records and their
packs."""
REPORT: Final = "_run/report.sha256"
AUDIT: Final = "_run/audit.sha256"


def seal(store: Store, path: str, digests: Mapping[str, str]) -> None:
    """Write a seal. digests: path -> sha256 in hex; the paths are our own and have no line breaks."""
    body = "".join(f"{sha256}  {name}\n" for name, sha256 in sorted(digests.items()))
    store.put(path, _first(path, body.encode()) + b"\n" + body.encode())


def put_sealed(store: Store, path: str, objects: Mapping[str, bytes]) -> None:
    """Put objects and their seal; the seal first, so that no object is without one."""
    seal(store, path, {name: sha256_of(data) for name, data in objects.items()})
    for name, data in objects.items():
        store.put(name, data)


def read(path: str, data: bytes) -> dict[str, str]:
    """Return path -> sha256 of the seal at `path`. Raises ValueError for bytes that `seal` did not write there."""
    first, newline, body = data.partition(b"\n")
    if not newline or first != _first(path, body):
        raise ValueError("its first line is not the hash of the others")
    found = {}
    for line in body.decode().splitlines():
        sha256, _, name = line.partition("  ")
        found[name] = sha256
    return found


def _first(path: str, body: bytes) -> bytes:
    return f"# {path}, sha256 of the lines below: {sha256_of(body)}".encode()


def sha256_of(data: bytes) -> str:
    """Return 64 hex digits."""
    return hashlib.sha256(data).hexdigest()
