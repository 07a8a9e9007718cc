"""What must hold on every node of a cluster before a run writes anything. Without Ray: it runs on each node."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

from pipeline.contracts import TellsUnread
from pipeline.errors import SegfillError
from pipeline.execute.code_version import code_version
from pipeline.flow import Flow
from pipeline.plan import Plan
from pipeline.source.first import First
from pipeline.source.listing import parent
from pipeline.storage.store import open_store


@dataclass(frozen=True, kw_only=True)
class NodeCheck:
    """code: the version of Segfill that the driver runs. objects: the first ones of the source that are to be read: URI
    and bytes. token: path and content of a file that the driver wrote where a local sink will be; empty for a
    bucket."""

    flow: Flow
    code: str
    objects: tuple[tuple[str, int], ...]
    token: tuple[str, str]

    def problem(self) -> str:
        """Return what is wrong on this node and what to do, in one line, or ""."""
        if (here := code_version()) != self.code:
            return f"runs Segfill {here}, this machine {self.code}; install the same version on all of them"
        try:
            for weights in self.flow.weights:
                weights.fetch()
            return self._source() or self._sink()
        except (SegfillError, OSError) as error:
            return " ".join(str(error).split())

    def _source(self) -> str:
        """One object that is seen is enough: another may be bad, and is a row then, not the end of the run."""
        problems = [_unseen(uri, size) for uri, size in self.objects]
        return problems[0] if problems and all(problems) else ""

    def _sink(self) -> str:
        path, content = self.token
        if path:
            with contextlib.suppress(OSError):
                if Path(path).read_text() == content:
                    return ""
            return (
                f"does not see the files that this machine writes at sink.uri={self.flow.sink.uri}; share that folder "
                "with every node, or use a bucket"
            )
        open_store(self.flow.sink.uri).list(limit=1)
        return ""


def _unseen(uri: str, expected: int) -> str:
    """What is wrong with an object of the source as it is seen from here, or ""."""
    folder, name = parent(uri)
    try:
        size = open_store(folder).stat(name).size
    except OSError as error:
        return f"{' '.join(str(error).split())}; {_SHARE}"
    return "" if size == expected else f"sees {size} bytes of {uri} where this machine sees {expected}; {_SHARE}"


_SHARE: Final = "share that folder with every node, or use a bucket that all of them may read"
_OBJECTS: Final = 3


def _objects(flow: Flow, plan: Plan) -> Iterator[tuple[str, int]]:
    """URI and bytes of each object to read that is sound by its listing. A plugin's may be none of a store."""
    if not isinstance(flow.source, TellsUnread | First):
        return
    for pending in plan.pending:
        shard = pending.shard
        if shard.members:
            for member in shard.members:
                if not member.problem:
                    yield f"{shard.uri.rstrip('/')}/{member.path}", member.size
        elif not shard.problem:
            yield shard.uri, shard.size


@contextlib.contextmanager
def node_check(flow: Flow, plan: Plan) -> Iterator[NodeCheck]:
    """Prepare the check; the token stands while it lasts."""
    with _token(flow.sink.uri) as token:
        objects = tuple(islice(_objects(flow, plan), _OBJECTS))
        yield NodeCheck(flow=flow, code=code_version(), objects=objects, token=token)


@contextlib.contextmanager
def _token(uri: str) -> Iterator[tuple[str, str]]:
    """Write a file where a local sink is or will be, and remove it again: who reads it there shares the folder."""
    store = open_store(uri)
    if not store.is_local:
        yield "", ""
        return
    folder = Path(store.uri)
    while not folder.is_dir():  # the output itself must not begin to be
        folder = folder.parent
    content = secrets.token_hex(8)
    file = folder / f".segfill-{content}.tmp"  # a name that no listing of a store shows
    file.write_text(content)
    try:
        yield str(file), content
    finally:
        file.unlink(missing_ok=True)
