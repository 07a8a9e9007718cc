"""Lists and reads the published images: files under `rendered/`, and the tar members and Parquet cells in them.

Reads them as any reader would, without the run's own tables, and in bounded memory: one tar member or Parquet row at a
time.
"""

from __future__ import annotations

import hashlib
import heapq
import tarfile
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

import pyarrow.parquet as pq

from pipeline.image.kinds import IMAGE_SUFFIXES
from pipeline.storage.store import Store

CONTAINERS: Final = 64
"""Maximum number of tars and tables that are opened to choose a number of images: listing every image of a large output
would read nearly all of it."""


@dataclass(kw_only=True)
class Chosen:
    """The sample. containers: tars and tables of the output. opened: those whose images were counted. count: of these
    images and the loose ones. names: of the images to inspect."""

    containers: int = 0
    opened: int = 0
    count: int = 0
    names: Collection[str] = field(default_factory=tuple)


def choose(store: Store, sample: int | float) -> Chosen:
    """Choose the images to inspect by a hash of their names: the same ones at every audit of an output.

    sample: a share of all images (a float, 0..1); or a number (an int), taken from at most CONTAINERS tars or tables,
    which are chosen by a hash too, and from all loose files.
    """
    paths = [entry.path for entry in store.list("rendered")]
    containers = sorted((path for path in paths if _is_container(path)), key=_place)
    chosen = Chosen(containers=len(containers))
    opened = containers if isinstance(sample, float) else containers[:CONTAINERS]
    chosen.opened = len(opened)

    def counted() -> Iterator[tuple[float, str]]:
        for name, _ in _entries(store, sorted({*paths} - {*containers} | {*opened})):
            chosen.count += 1
            yield _place(name), name

    if isinstance(sample, float):
        chosen.names = {name for place, name in counted() if place < sample}
    else:
        chosen.names = {name for _, name in heapq.nsmallest(sample, counted())}
    return chosen


def contents(store: Store, names: Collection[str]) -> Iterator[tuple[str, bytes]]:
    """Yield name and bytes of these images, one at a time."""
    for name, read in _entries(store, sorted({name.partition("!")[0] for name in names})):
        if name in names:
            yield name, read()


def _place(name: str) -> float:
    """Hash the image's own name to 0..1; the name of its tar may change with the other members."""
    digest = hashlib.sha256(name.rpartition("!")[2].encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(digest[:7], "big") / 2**56


def _entries(store: Store, paths: Iterable[str]) -> Iterator[tuple[str, Callable[[], bytes]]]:
    """Yield the name of every image in these files, and a function that reads it: call it before the next image."""
    for path in paths:
        if path.endswith(".tar"):
            with store.open(path) as stream, tarfile.open(fileobj=stream, mode="r:") as tar:
                for member in tar:
                    if member.isfile() and _is_image(member.name):
                        yield f"{path}!{member.name}", lambda tar=tar, member=member: _member(tar, member)  # type: ignore[misc]
        elif path.endswith(".parquet"):
            with store.open(path) as stream, pq.ParquetFile(stream, pre_buffer=False) as file:
                number = 0
                for batch in file.iter_batches(batch_size=1):
                    for row in batch.to_pylist():
                        for name, data in _cells(f"{path}!{number}", row):
                            yield name, lambda data=data: data  # type: ignore[misc]
                        number += 1
        elif _is_image(path):
            yield path, lambda path=path: store.read(path)  # type: ignore[misc]


def _member(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    stream = tar.extractfile(member)
    return stream.read() if stream else b""


def _cells(name: str, value: object) -> Iterator[tuple[str, bytes]]:
    if isinstance(value, dict):
        for key, child in value.items():
            yield from _cells(f"{name}.{key}", child)
    elif isinstance(value, bytes) and value:
        yield name, value


def _is_container(path: str) -> bool:
    return path.endswith((".tar", ".parquet"))


def _is_image(path: str) -> bool:
    return any(path.lower().endswith(suffix) for suffix in IMAGE_SUFFIXES)
