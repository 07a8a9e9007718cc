"""List the objects that a URI names: a folder or prefix, one object, a glob, or brace ranges.

    data/shards                 everything below with one of the wanted suffixes
    data/shards/a.tar           one object
    data/**/train-*.tar         `*` and `?` stay within a folder, `**/` crosses folders, `[ab]` is one of its letters
    s3://b/{00000..00012}.tar   every number, zeros kept; `{a,b}` is a list. Each name must exist unless it has a `*`

Paths are relative to the root: the folder, the folder of the one object, or the folders before the first special
character. Paths with a part below the root that begins with a dot are skipped, as the shell does.

No other name is skipped in silence. A name with a wanted suffix that cannot be read, and every link that is not
followed (it may lead to a folder of images), is found with a `problem`: the reason of its row or of its failed shard.

    dangling_link   a link to a name that does not exist
    link_loop       a link that leads back to itself or to a folder above it
    link_outside    a link that leads out of the root, without `source.follow_links`: a folder from strangers could link
                    to any file of this machine. `source.uri` itself may be a link to anywhere
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
    "dangling_link": "the link leads to nothing: mount or copy its target, or remove it",
    "link_loop": "the link leads back to itself or to a folder above it; remove it",
    "link_outside": "the link leads out of the source; source.follow_links=true reads it, if you trust who made it",
    "not_a_file": "a named pipe, a socket or a device, not a regular file; remove it",
}


Kind: TypeAlias = Literal["folder", "object", "pattern"]


@dataclass(frozen=True)
class Listing:
    """The objects of a URI. store: at the root. found: the wanted objects. others: all others that were listed. Both
    are sorted by path. kind: of the URI; for `object`, nothing beside the object is listed."""

    store: Store
    found: tuple[ObjectInfo, ...]
    others: tuple[ObjectInfo, ...]
    kind: Kind


def find(uri: str, suffixes: Collection[str], *, follow_links: bool = False) -> Listing:
    """List a URI. follow_links: also links that lead out of the root. Raises SourceError when the URI does not exist or
    cannot be listed, but not when nothing is found."""
    with as_source_error(uri):
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
    """Make each object that was found a shard."""
    return tuple(
        Shard(path=o.path, uri=listing.store.join(o.path), size=o.size, etag=o.etag, problem=o.problem)
        for o in listing.found
    )


@contextlib.contextmanager
def as_source_error(uri: str) -> Iterator[None]:
    """Turn OSError into SourceError, for use before anything is written: only the URI can be at fault then."""
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
    """Split a URI into the folder of an object and its name there."""
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
    paths = {info.path for info in objects}
    chosen: set[str] = set()
    for one in patterns:
        if is_pattern(one):
            chosen.update(filter(regex(one).fullmatch, paths))
        elif one in paths:
            chosen.add(one)
        else:
            raise SourceError(f"source.uri={uri}: {store.join(one)} does not exist; every name of a brace range must")
    return _listing(store, objects, "pattern", lambda o: o.path in chosen and _found(o, suffixes))


def is_pattern(uri: str) -> bool:
    return _SPECIAL.search(uri) is not None


def split_pattern(uri: str) -> tuple[str, str]:
    """Split a URI into the folders before the first special character, and the rest."""
    special = _SPECIAL.search(uri)
    cut = uri.rfind("/", 0, special.start() if special else len(uri))
    return (uri[:cut] or "/", uri[cut + 1 :]) if cut >= 0 else (".", uri)


def expand(pattern: str) -> list[str]:
    """Expand every pair of braces, in order. Raises ConfigError for braces that are neither a range nor a list."""
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
    """Translate a glob to an expression for whole relative paths: `glob.translate` comes with Python 3.13."""
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
        raise ConfigError(f"source.uri: {pattern!r} is not a valid glob: {error}") from error
