"""Tell what of a listing a source does not read, by kind: no image is passed over without a word.

A file whose suffix is not wanted is looked at: its first bytes say whether it is an image all the same (no suffix,
`.jpg_large`, `.jpg?w=600`, `.jpeg.bak`), or of which kind it is. Where none of the first `LOOKED_AT` files with one
suffix is an image, the others are not looked at, and counted as such. Suffixes of texts and tables are taken at their
word.
"""

from __future__ import annotations

import codecs
import errno
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from pipeline.contracts import Unread
from pipeline.errors import SourceError
from pipeline.image.kinds import HEAD_BYTES, Kind, by_bytes, by_suffix
from pipeline.source import names
from pipeline.storage.store import ObjectInfo, Store

LOOKED_AT: Final = 1000
SIDECAR_SUFFIXES: Final = (".txt", ".json")
_READS_AT_ONCE: Final = 16
_CLOSED: Final = Kind(name="cannot be opened", suffixes=(), holds="images")
_OF_THE_OBJECT: Final = (errno.EACCES, errno.EPERM, errno.ENODATA, errno.ENOENT, errno.ESTALE)
"""Errors of one object: no right, archived, gone, changed."""
_TEXTS: Final = (
    *(".txt", ".json", ".jsonl", ".ndjson", ".geojson", ".csv", ".tsv", ".xml", ".yaml", ".yml", ".toml", ".ini"),
    *(".cfg", ".md", ".rst", ".html", ".htm", ".css", ".js", ".py", ".ipynb", ".sh", ".sql", ".log", ".srt", ".vtt"),
)  # fmt: skip
_ADVICE: Final = {
    "ZIP": "unpack it and name the folder",
    "7z": "unpack it and name the folder",
    "RAR": "unpack it and name the folder",
    "tar": "source=webdataset (or source=auto) reads it",
    "Parquet": "source=parquet reads it, or source=auto by its suffix .parquet",
    "video": "extract its frames into a folder",
    "PDF": "draw its pages into a folder of images",
    "Git LFS pointer": "run `git lfs pull` where it comes from",
}
_IMAGE_ADVICE: Final = "convert it to PNG, TIFF or JPEG first"
_OTHER_ADVICE: Final = "pack its images into tar shards, Parquet or a folder first"


@dataclass(frozen=True)
class Looked:
    """images: objects that are images by their bytes. unread: the rest, less the sidecars of images."""

    images: tuple[ObjectInfo, ...]
    unread: Unread


def look(store: Store, objects: Sequence[ObjectInfo], found: Collection[str], *, images: bool) -> Looked:
    """Look at objects that are not wanted by their suffix. found: paths of those that are. images: files with the bytes
    of a readable image are read, and texts beside an image are its sidecars. Raises OSError when the store is lost."""
    told = _told(store, [o for o in objects if _is_unclear(o, images)])
    taken = tuple(o for o in objects if images and _is_read(told.get(o.path)))
    beside = {names.stem(path) for path in (*found, *(o.path for o in taken))} if images else set()
    left = {o.path for o in objects} - {o.path for o in taken}
    counts: Counter[tuple[bool, str]] = Counter()
    for info in objects:
        if info.path in left and not (info.path.lower().endswith(SIDECAR_SUFFIXES) and names.stem(info.path) in beside):
            counts[_named(info, told)] += 1
    ranked = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0][1]))
    return Looked(
        images=taken,
        unread=Unread(
            images=tuple((name, count) for (may_be, name), count in ranked if may_be),
            others=tuple((name, count) for (may_be, name), count in ranked if not may_be),
        ),
    )


def bytes_tell(name: str, head: bytes) -> Kind | None:
    """The kind that the first bytes of a file tell. A text may begin like a BMP ("BM") or a CR2 by chance. A raw photo
    is a TIFF by its bytes, but its first page is a thumbnail: there the suffix decides."""
    kind, named = by_bytes(head), by_suffix(name)
    if kind is not None and kind.name in ("BMP", "CR2") and _is_text(head):
        return None
    if kind is not None and kind.name == "TIFF" and named is not None and named.holds == "image":
        return named
    return kind


def is_image(name: str, head: bytes) -> bool:
    """Whether the first bytes are those of an image that is read."""
    return _is_read(bytes_tell(name, head))


def refusal(uri: str, head: bytes) -> SourceError:
    """Make the error for a URI that is one object which is not read: what it is, and what to do."""
    kind = bytes_tell(uri, head)
    kind = kind if _is_read(kind) else by_suffix(uri) or kind
    if kind is None:
        suffix = _suffix(uri)
        what = f"a {suffix} file" if suffix else "a file without a suffix"
        return SourceError(
            f"source.uri={uri} is {what}, no image, tar or Parquet file by its name or its first bytes; name the "
            "folder, the shards or the tables that hold the images"
        )
    what = f"of the kind {kind.name}"
    if kind.read:
        return SourceError(f"source.uri={uri} is {what}, which only source=files (or source=auto) reads")
    advice = _ADVICE.get(kind.name, _IMAGE_ADVICE if kind.holds == "image" else _OTHER_ADVICE)
    return SourceError(f"source.uri={uri} is {what}, and it is not read: {advice}")


def judged(unread: Unread, uri: str, policy: str) -> Unread:
    """Apply `source.unread`. Raises SourceError for `fail` when what is not read holds images, or may hold some."""
    if policy == "fail" and unread.images:
        raise SourceError(
            f"source.uri={uri} holds images, or files that may hold some, which are not read "
            f"({Unread(images=unread.images).kinds()}); convert, unpack or move them, or source.unread=warn goes on "
            "without them"
        )
    return unread if policy != "ignore" else Unread(outputs=unread.outputs)


def _is_unclear(info: ObjectInfo, images: bool) -> bool:
    """Whether the first bytes tell more than the name. images: a wrong suffix may hide one."""
    if info.problem or info.path.lower().endswith(_TEXTS):
        return False
    return images or by_suffix(info.path) is None


def _told(store: Store, objects: Iterable[ObjectInfo]) -> dict[str, Kind | None]:
    """The kinds that the first bytes of objects tell. Objects that are not looked at are left out."""
    groups: dict[str, list[ObjectInfo]] = {}
    for info in objects:
        groups.setdefault(_suffix(info.path), []).append(info)
    told: dict[str, Kind | None] = {}
    with ThreadPoolExecutor(_READS_AT_ONCE, thread_name_prefix="look") as pool:
        for group in groups.values():
            for part in (group[:LOOKED_AT], group[LOOKED_AT:]):
                told.update(zip((o.path for o in part), pool.map(lambda o: _look_at(store, o), part), strict=True))
                if not any(_is_read(told[info.path]) for info in part):
                    break
    return told


def _look_at(store: Store, info: ObjectInfo) -> Kind | None:
    try:
        return bytes_tell(info.path, store.read_range(info.path, 0, HEAD_BYTES, etag=info.etag))
    except OSError as error:
        if error.errno in _OF_THE_OBJECT:
            return _CLOSED
        raise


def _is_read(told: Kind | None) -> bool:
    return told is not None and told.read


def _is_text(head: bytes) -> bool:
    if b"\0" in head:
        return False
    try:
        codecs.utf_8_decode(head, "strict", False)  # its last letter may be cut
    except UnicodeDecodeError:
        return False
    return True


def _named(info: ObjectInfo, told: Mapping[str, Kind | None]) -> tuple[bool, str]:
    """Whether a file that is not read may hold images, and the name of its kind."""
    seen = told.get(info.path)
    kind = seen if _is_read(seen) else by_suffix(info.path) or seen
    is_text = info.path.lower().endswith(_TEXTS)
    if kind is None and not is_text and info.problem in ("no_read_right", "unsafe_name"):
        kind = _CLOSED
    if kind is not None:
        return kind.holds != "other", kind.name
    known = info.path in told or info.problem or is_text
    return False, f"{'other' if known else 'not looked at'} ({_suffix(info.path) or 'no suffix'})"


def _suffix(path: str) -> str:
    """The last suffix of a name, lower case, with the dot; "" for none."""
    base = path.rpartition("/")[2]
    stem, dot, suffix = base.rpartition(".")
    return f".{suffix.lower()}" if dot and stem else ""
