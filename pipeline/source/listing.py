"""Which objects does a URI name: a folder or prefix, one object, a glob, or brace ranges.

    data/shards                 everything below that has one of the wanted suffixes
    data/shards/a.tar           one object
    data/**/train-*.tar         `*` and `?` stay within a folder, `**/` crosses folders, `[ab]` is one of
    s3://b/{00000..00012}.tar   every number, zeros kept; `{a,b}` is either. Each must exist unless it also has a `*`

Paths are relative to the root: the folder itself, the folder of the one object, or the folders before the first special
character. Parts of a path below the root that begin with a dot are skipped, as the shell does.

A name that is not read is never passed over in silence. What has a wanted suffix, and every link that is not followed
(it may lead to a folder of images), is found with its `problem`: the reason code of its row, or of its failed shard.

    dangling_link   a link to what is not there
    link_loop       a link that leads back to itself or to a folder above it
    link_outside    a link that leads out of the root, without `source.follow_links`: a stranger's folder could show any
                    file of this machine; what `source.uri` itself names may be a link to anywhere
    not_a_file      a named pipe, a socket or a device
"""

from __future__ import annotations

import contextlib
import itertools
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from pipeline.errors import ConfigError, SourceError, one_line
from pipeline.records import Shard
from pipeline.source import names
from pipeline.storage.store import ObjectInfo, Store, open_store

_SPECIAL = re.compile(r"[*?\[{]")
_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")
_MAX_EXPANDED = 1_000_000

DETAILS: Final[Mapping[str, str]] = {
    "dangling_link": "the link leads to nothing: mount or copy what it should lead to, or remove it",
    "link_loop": "the link leads back to itself or to a folder above it; remove it",
    "link_outside": "the link leads out of the source; source.follow_links=true reads it, if you trust who made it",
    "not_a_file": "a named pipe, a socket or a device, not a regular file; remove it",
}


Kind: TypeAlias = Literal["folder", "object", "pattern"]


@dataclass(frozen=True)
class Listing:
    """What a URI names. store: at the root. found: the wanted objects. others: the rest of what was listed. Both are
    sorted by path. kind: what the URI was; the neighbours of a single object are not listed."""

    store: Store
    found: tuple[ObjectInfo, ...]
    others: tuple[ObjectInfo, ...]
    kind: Kind


def find(uri: str, suffixes: Collection[str], *, follow_links: bool = False) -> Listing:
    """follow_links: also those that lead out of the root. Raises SourceError when the URI does not exist or cannot be
    listed; finding nothing is the caller's to judge."""
    with refusing(uri):
        if is_pattern(uri):
            return _by_pattern(uri, suffixes, follow_links)
        if not uri.endswith("/") and _wanted(uri, suffixes):
            folder, name = parent(uri)
            store = open_store(folder)
            with contextlib.suppress(FileNotFoundError):  # a folder may be called x.parquet as well
                return _listing(store, [store.stat(name)], "object", lambda _: True)
        store = open_store(uri)
        objects = store.list(odd=True, outside=follow_links)
    return _listing(store, objects, "folder", lambda o: _found(o, suffixes))


def shards_of(listing: Listing) -> tuple[Shard, ...]:
    """One shard an object."""
    return tuple(
        Shard(path=o.path, uri=listing.store.join(o.path), size=o.size, etag=o.etag, problem=o.problem)
        for o in listing.found
    )


@contextlib.contextmanager
def refusing(uri: str) -> Iterator[None]:
    """While nothing has been written: an error of the store is one of the URI. Raises SourceError."""
    try:
        yield
    except FileNotFoundError as error:
        raise SourceError(f"source.uri={uri} does not exist; check the path and the bucket") from error
    except PermissionError as error:
        problem = f"no right to list or read it ({one_line(error)}); check the ambient credentials"
        raise SourceError(f"source.uri={uri}: {problem}") from error
    except OSError as error:
        raise SourceError(f"source.uri={uri} cannot be read: {one_line(error)}") from error


def parent(uri: str) -> tuple[str, str]:
    """The folder of an object and its name there."""
    folder, slash, name = uri.rpartition("/")
    return folder or slash or ".", name


def _wanted(path: str, suffixes: Collection[str]) -> bool:
    return path.lower().endswith(tuple(suffixes))


def _found(info: ObjectInfo, suffixes: Collection[str]) -> bool:
    return _wanted(info.path, suffixes) or info.problem in ("dangling_link", "link_loop", "link_outside")


def _listing(
    store: Store, objects: Iterable[ObjectInfo], kind: Kind, is_wanted: Callable[[ObjectInfo], bool]
) -> Listing:
    seen = sorted((o for o in objects if not names.hidden(o.path)), key=lambda o: o.path)
    found = tuple(o for o in seen if is_wanted(o))
    for info in found:
        try:
            info.path.encode()
        except UnicodeEncodeError as error:
            problem = f"the name {info.path!r} is not UTF-8, so no table can hold it; rename it"
            raise SourceError(f"source.uri={store.uri}: {problem}") from error
    return Listing(store=store, found=found, others=tuple(o for o in seen if not is_wanted(o)), kind=kind)


def _by_pattern(uri: str, suffixes: Collection[str], follow_links: bool) -> Listing:
    root, pattern = split_pattern(uri)
    store = open_store(root)
    patterns = expand(pattern)
    objects = store.list(odd=True, outside=follow_links)
    there = {info.path for info in objects}
    chosen: set[str] = set()
    for one in patterns:
        if is_pattern(one):
            chosen.update(filter(regex(one).fullmatch, there))
        elif one in there:
            chosen.add(one)
        else:
            raise SourceError(f"source.uri={uri}: {store.join(one)} does not exist; every name of a brace range must")
    return _listing(store, objects, "pattern", lambda o: o.path in chosen and _found(o, suffixes))


def is_pattern(uri: str) -> bool:
    return _SPECIAL.search(uri) is not None


def split_pattern(uri: str) -> tuple[str, str]:
    """The folders before the first special character, and the rest."""
    special = _SPECIAL.search(uri)
    cut = uri.rfind("/", 0, special.start() if special else len(uri))
    return (uri[:cut] or "/", uri[cut + 1 :]) if cut >= 0 else (".", uri)


def expand(pattern: str) -> list[str]:
    """Every choice of every pair of braces, in order. Raises ConfigError for braces that are neither range nor list."""
    pieces: list[list[str]] = []
    end, count = 0, 1
    for braces in _BRACES.finditer(pattern):
        choices = _choices(braces[1], pattern)
        count *= len(choices)
        if count > _MAX_EXPANDED:
            raise ConfigError(
                f"source.uri: the braces in {pattern!r} name more than {_MAX_EXPANDED} objects; use a * instead"
            )
        pieces += [[pattern[end : braces.start()]], choices]
        end = braces.end()
    rest = pattern[end:]
    if any(c in "{}" for piece in pieces for c in piece[0]) or "{" in rest or "}" in rest:
        raise ConfigError(
            f"source.uri: unmatched or nested braces in {pattern!r}; expected {{00000..00012}} or {{a,b}}"
        )
    return ["".join(parts) for parts in itertools.product(*pieces, [rest])]


def _choices(inside: str, pattern: str) -> list[str]:
    numbers = _RANGE.fullmatch(inside)
    if not numbers:
        if "," in inside:
            return inside.split(",")
        raise ConfigError(f"source.uri: {{{inside}}} in {pattern!r} is no range; expected {{00000..00012}} or {{a,b}}")
    low, high = numbers[1], numbers[2]
    if int(low) > int(high) or int(high) - int(low) >= _MAX_EXPANDED:
        raise ConfigError(f"source.uri: the range {{{inside}}} must rise and name at most {_MAX_EXPANDED} objects")
    width = max(len(low), len(high)) if low.startswith("0") and len(low) > 1 else 0
    return [f"{n:0{width}d}" for n in range(int(low), int(high) + 1)]


def regex(pattern: str) -> re.Pattern[str]:
    """A glob as an expression for whole relative paths. Python 3.11 has no `glob.translate`."""
    parts: list[str] = []
    at = 0
    while at < len(pattern):
        if pattern.startswith("**/", at):
            parts.append("(?:[^/]+/)*")
            at += 3
        elif pattern.startswith("**", at):
            parts.append(".*")
            at += 2
        elif pattern[at] in "*?":
            parts.append("[^/]*" if pattern[at] == "*" else "[^/]")
            at += 1
        elif pattern[at] == "[" and (end := pattern.find("]", at + 2)) > 0:
            inside = pattern[at + 1 : end].replace("\\", "\\\\").replace("[", "\\[")
            parts.append(f"(?!/)[{'^' + inside[1:] if inside[0] == '!' else inside}]")
            at = end + 1
        else:
            parts.append(re.escape(pattern[at]))
            at += 1
    try:
        return re.compile("".join(parts), re.DOTALL)
    except re.error as error:
        raise ConfigError(f"source.uri: {pattern!r} is no glob that can be understood: {error}") from error
