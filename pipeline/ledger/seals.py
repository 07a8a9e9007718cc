"""Which bytes should the objects have that no commit record names: the records themselves, the page, a receipt?

A seal is a list `_run/<name>.sha256` that `sha256sum -c` reads too. Its first line, to that program a comment, is its
name and the hash of the lines below, so that a damaged list is told from a damaged object. Seals show what was changed
by accident or by who did not know of them; who rewrites both is found out only by a copy of the seal kept elsewhere.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Final

from pipeline.storage.store import Store

RUN: Final = "_run/run.sha256"
"""Of the manifest, the config, SUCCESS.json and every commit record."""
REPORT: Final = "_run/report.sha256"
AUDIT: Final = "_run/audit.sha256"


def seal(store: Store, path: str, digests: Mapping[str, str]) -> None:
    """Write a seal. digests: path -> sha256 in hex; the paths are our own, on one line."""
    body = "".join(f"{sha256}  {name}\n" for name, sha256 in sorted(digests.items()))
    store.put(path, _first(path, body.encode()) + b"\n" + body.encode())


def put_sealed(store: Store, path: str, objects: Mapping[str, bytes]) -> None:
    """Put objects and their seal; the seal first, so that none stands without one."""
    seal(store, path, {name: sha256_of(data) for name, data in objects.items()})
    for name, data in objects.items():
        store.put(name, data)


def read(path: str, data: bytes) -> dict[str, str]:
    """Path -> sha256, of the seal that stands at `path`. Raises ValueError for what `seal` has not written there."""
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
    return hashlib.sha256(data).hexdigest()
