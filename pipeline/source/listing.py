"""List the objects that a URI names: a folder or prefix, one object, a glob, or brace ranges (`patterns`).

A name that exists as it is typed is literal, whatever it holds; only another one is a pattern. Each name of a brace
range must exist unless it has a `*`. Paths are relative to the root: the folder, the folder of the one object, or the
folders before the first special character.

Passed over in silence are names that never hold data (`_never_data`): parts of a path below the root that begin with a
dot, as the shell does it, and what tools leave behind. Outputs of Segfill below the root are never read, but counted.
Every other name is either found or counted as unread (`unread`). A name with a wanted suffix that cannot be read, and
every link that is not followed (it may lead to a folder of images), is found with a `problem`: the reason of its row or
of its failed shard, see `DETAILS`.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal, TypeAlias

from pipeline.contracts import ALL_READ, Unread
from pipeline.errors import ConfigError, SourceError, one_line
from pipeline.image.kinds import HEAD_BYTES
from pipeline.records import Shard
from pipeline.source import names, unread
from pipeline.source.patterns import expand, is_pattern, regex, split_pattern
from pipeline.source.several import common_root, uris_of
from pipeline.storage.store import ObjectInfo, Store, open_store

DETAILS: Final[Mapping[str, str]] = {
    "dangling_link": "the link leads to nothing: mount or copy its target, or remove it",
    "link_loop": "the link leads back to itself or to a folder above it; remove it",
    "link_outside": "the link leads out of the source; source.follow_links=true reads it, if you trust who made it",
    "not_a_file": "a named pipe, a socket or a device, not a regular file; remove it",
    "no_read_right": "no right to read it; give this user the right, or remove it",
    "no_list_right": "no right to list this folder, and what it holds is not read; give this user the right",
    "unsafe_name": "its name has an empty part, `.`, `..` or a slash at an end, or is too long; rename it",
    "bad_name": "its name is not UTF-8, so no table can hold it; rename it",
}

_MANIFEST: Final = "_run/manifest.json"
"""What every output of Segfill has."""
_ANY_NAME: Final = ("dangling_link", "link_loop", "link_outside", "no_list_right")
"""Problems of names that may be folders of images."""
_TOOLS: Final = frozenset(
    [
        "__MACOSX",
        "_temporary",
        "_delta_log",
        "_spark_metadata",
        "lost+found",
        "$RECYCLE.BIN",
        "System Volume Information",
    ]
)
_MARKERS: Final = ("_metadata", "_common_metadata", "thumbs.db", "desktop.ini")

Kind: TypeAlias = Literal["folder", "object", "pattern"]


@dataclass(frozen=True)
class Listing:
    """The objects of a URI. store: at the root. found: the wanted objects. others: all others that were listed. Both
    are sorted by path. kind: of the URI; for `object`, nothing beside the object is listed. unread: what of the others
    is neither data nor a sidecar. several: of more than one URI."""

    store: Store
    found: tuple[ObjectInfo, ...]
    others: tuple[ObjectInfo, ...]
    kind: Kind
    unread: Unread
    several: bool = False


@dataclass(frozen=True)
class Place:
    """What a URI names. store: at the root. name: of the object, or the pattern; empty for a folder."""

    kind: Kind
    store: Store
    name: str = ""


def find(uri: str, suffixes: Collection[str], *, follow_links: bool = False, images: bool = False) -> Listing:
    """List a URI, or each of several (`several.uris_of`). follow_links: also links that lead out of the root. images:
    files with the first bytes of a readable image are wanted, too, whatever their suffix. Raises SourceError when a URI
    does not exist, cannot be listed, or is one object that is not wanted, but not when nothing is found."""
    uris = uris_of(uri)
    if uris == (uri,):
        return _find(uri, suffixes, follow_links, images)
    return _joined([_find(one, suffixes, follow_links, images) for one in uris])


def _find(uri: str, suffixes: Collection[str], follow_links: bool, images: bool) -> Listing:
    with as_source_error(uri):
        place = locate(uri, suffixes)
        if place.kind == "object":
            return _object(place, uri, suffixes, images)
        objects = _listed(place, uri, follow_links)
        if objects is None:
            return _object(_outside_of_folders(uri), uri, suffixes, images)
        objects = sorted((o for o in objects if not _never_data(o.path)), key=lambda o: o.path)
        objects, outputs = _without_outputs(objects, uri)
        chosen = _choice(place, uri, objects)
        found = [o for o in objects if chosen(o) and (_wanted(o.path, suffixes) or o.problem in _ANY_NAME)]
        taken = {o.path for o in found}
        rest = [o for o in objects if o.path not in taken and chosen(o)]
        looked = unread.look(place.store, rest, [o.path for o in found], images=images)
    taken |= {o.path for o in looked.images}
    return Listing(
        store=place.store,
        found=tuple(_tellable(o) for o in objects if o.path in taken),
        others=tuple(_tellable(o) for o in objects if o.path not in taken),
        kind=place.kind,
        unread=replace(looked.unread, outputs=outputs),
    )


def _joined(listings: Sequence[Listing]) -> Listing:
    """One listing of several, with all paths below their common root. What two of them name is listed once."""
    root = common_root([listing.store.uri for listing in listings])
    found: dict[str, ObjectInfo] = {}
    others: dict[str, ObjectInfo] = {}
    for listing in listings:
        below = listing.store.uri[len(root) :].strip("/")
        beside = _texts_beside(listing) if listing.kind == "object" else listing.others
        for objects, taken in ((listing.found, found), (beside, others)):
            moved = (replace(o, path=f"{below}/{o.path}" if below else o.path) for o in objects)
            taken.update((info.path, info) for info in moved)
    return Listing(
        store=open_store(root),
        found=tuple(found[path] for path in sorted(found)),
        others=tuple(others[path] for path in sorted(others.keys() - found.keys())),
        kind="folder",
        unread=sum((listing.unread for listing in listings), ALL_READ),
        several=True,
    )


def _texts_beside(listing: Listing) -> list[ObjectInfo]:
    """The sidecars of one object, whose folder was not listed."""
    texts = []
    for suffix in unread.SIDECAR_SUFFIXES:
        with contextlib.suppress(FileNotFoundError):
            texts.append(listing.store.stat(names.stem(listing.found[0].path) + suffix, outside=False))
    return texts


def locate(uri: str, suffixes: Collection[str] = ()) -> Place:
    """Tell what a URI names; with one or two requests where it may be an object or a pattern. suffixes: of objects.

    A folder need not exist. Raises ConfigError for a URI that no store takes."""
    try:
        if is_pattern(uri) or _wanted(uri, suffixes):
            with contextlib.suppress(FileNotFoundError):  # a folder may be called x.parquet as well
                return _outside_of_folders(uri)
        if not is_pattern(uri) or _is_folder(uri):
            return Place("folder", open_store(uri))
        root, pattern = _literal_root(uri)
        return Place("pattern", open_store(root), pattern)
    except ConfigError as error:
        raise ConfigError(str(error) if str(error).startswith("source.uri") else f"source.uri: {error}") from error


def places_of(uri: str) -> list[str]:
    """The normal form of all that a URI names, links resolved; of a pattern, of its root. Raises RefusedError."""
    found = []
    for one in uris_of(uri):
        with as_source_error(one):
            place = locate(one)
        named = place.store.join(place.name) if place.kind == "object" else place.store.uri
        found.append(os.path.realpath(named) if place.store.is_local else named)
    return found


def shards_of(listing: Listing) -> tuple[Shard, ...]:
    """Make each object that was found a shard."""
    return tuple(
        Shard(path=o.path, uri=f"{listing.store.uri.rstrip('/')}/{o.path}", size=o.size, etag=o.etag, problem=o.problem)
        for o in listing.found
    )


def not_found(uri: str, what: str, listing: Listing) -> SourceError:
    """Make the error for a URI that holds no `what` that can be read: it says what is there instead."""
    if links := sum(info.problem == "link_outside" for info in listing.found):
        where = f"no {what} there but {links} link{'s' if links > 1 else ''} to other folders"
        return SourceError(
            f"source.uri={uri}: {where}; source.follow_links=true reads them, if you trust who made them"
        )
    problems = sorted({o.problem for o in listing.found if o.problem})
    but = [f"{len(listing.found)} that cannot be read ({', '.join(problems)})"] if problems else []
    but += [listing.unread.text()] if listing.unread.files else []
    but += [listing.unread.outputs_text()] if listing.unread.outputs else []
    there = f" but {' and '.join(but)}" if but else ""
    return SourceError(
        f"source.uri={uri}: no {what} there{there}; check the URI, or choose source=webdataset|parquet|files"
    )


@contextlib.contextmanager
def as_source_error(uri: str) -> Iterator[None]:
    """Turn OSError into SourceError, for use before anything is written: only the URI can be at fault then."""
    try:
        yield
    except FileNotFoundError as error:
        raise SourceError(f"source.uri={uri} does not exist; check the path and the bucket") from error
    except OSError as error:
        raise SourceError(f"source.uri={uri} cannot be read: {one_line(error).removeprefix(f'{uri}: ')}") from error


def parent(uri: str) -> tuple[str, str]:
    """Split a URI into the folder of an object and its name there."""
    folder, slash, name = uri.rpartition("/")
    if folder in ("file:", "file:/", "file://"):
        folder = "file:///"
    return folder or slash or ".", name


def _outside_of_folders(uri: str) -> Place:
    """The object that a URI names. Raises FileNotFoundError."""
    folder, name = parent(uri)
    if name in ("", ".", "..") or folder.endswith(":/"):  # s3://bucket names no object
        raise FileNotFoundError(uri)
    store = open_store(folder)
    store.stat(name)
    return Place("object", store, name)


def _is_folder(uri: str) -> bool:
    """Whether a name with special characters is that of a folder that exists."""
    try:
        store = open_store(uri)
        return bool(store.list(limit=1)) or store.is_local
    except (FileNotFoundError, ConfigError):  # a pattern may stand where no name may: in a bucket
        return False


def _literal_root(uri: str) -> tuple[str, str]:
    """Split a pattern behind the last folder that exists as it is typed (`photos[2019]/*.jpg`)."""
    for slash in [at for at in range(len(uri) - 1, 0, -1) if uri[at] == "/"]:
        root, rest = uri[:slash], uri[slash + 1 :]
        if is_pattern(root) and is_pattern(rest) and _is_folder(root):
            return root, rest
    return split_pattern(uri)


def _listed(place: Place, uri: str, follow_links: bool) -> list[ObjectInfo] | None:
    """List a root; None when it is an object instead. Raises FileNotFoundError when it is neither."""
    with contextlib.suppress(FileNotFoundError):
        objects = place.store.list(odd=True, outside=follow_links)
        if objects or place.store.is_local or place.kind == "pattern":
            return objects
    if place.kind == "folder":
        with contextlib.suppress(FileNotFoundError):
            _outside_of_folders(uri)
            return None
    return place.store.list(odd=True, outside=follow_links)  # says what is missing, or gives an empty prefix


def _object(place: Place, uri: str, suffixes: Collection[str], images: bool) -> Listing:
    """The listing of one object. Raises SourceError that says what it is, when it is not wanted."""
    info = place.store.stat(place.name)
    if not _wanted(place.name, suffixes):
        head = place.store.read_range(place.name, 0, HEAD_BYTES)
        if not (images and unread.is_image(place.name, head)):
            raise unread.refusal(uri, head)
    return Listing(store=place.store, found=(_tellable(info),), others=(), kind="object", unread=ALL_READ)


def _wanted(path: str, suffixes: Collection[str]) -> bool:
    return path.rstrip("/").lower().endswith(tuple(suffixes)) if suffixes else False


def _never_data(path: str) -> bool:
    """Whether a name is hidden, or one of those that tools leave beside data."""
    parts = path.split("/")
    if any(part in _TOOLS or (part.startswith(".") and part not in (".", "..")) for part in parts):
        return True
    name = parts[-1].lower()
    return name in _MARKERS or name.endswith(".crc") or name.startswith(("_success", "_started_", "_committed_"))


def _without_outputs(objects: Sequence[ObjectInfo], uri: str) -> tuple[list[ObjectInfo], int]:
    """Take away what lies in outputs of Segfill; return the rest and their number. Raises SourceError when the root
    itself is one."""
    roots = sorted(o.path.removesuffix(_MANIFEST) for o in objects if f"/{o.path}".endswith(f"/{_MANIFEST}"))
    outermost = tuple(root for root in roots if not any(root != r and root.startswith(r) for r in roots))
    if "" in outermost:
        raise SourceError(
            f"source.uri={uri} is an output of Segfill, and those are never read; name a folder of images in it, "
            "such as its rendered/filled"
        )
    return [o for o in objects if not (outermost and o.path.startswith(outermost))], len(outermost)


def _choice(place: Place, uri: str, objects: Iterable[ObjectInfo]) -> Callable[[ObjectInfo], bool]:
    """Which objects a URI names, besides their suffix. Raises SourceError for a missing name of a brace range."""
    if place.kind != "pattern":
        return lambda _: True
    paths = {info.path for info in objects}
    chosen: set[str] = set()
    for one in expand(place.name):
        if is_pattern(one):
            chosen.update(filter(regex(one).fullmatch, paths))
        elif one in paths:
            chosen.add(one)
        else:
            missing = f"{place.store.uri.rstrip('/')}/{one}"
            raise SourceError(f"source.uri={uri}: {missing} does not exist; every name of a brace range must")
    return lambda info: info.path in chosen


def _tellable(info: ObjectInfo) -> ObjectInfo:
    r"""Give an object whose name is not UTF-8 a problem, and a name that tables hold: `\xNN` for each odd byte."""
    try:
        info.path.encode()
    except UnicodeEncodeError:
        raw = info.path.encode("utf-8", "surrogateescape")
        return replace(info, path=names.text(raw), problem=info.problem or "bad_name")
    return info
