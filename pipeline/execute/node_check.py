"""What must hold on every node of a cluster before a run writes anything. Without Ray: it runs on each node."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import SegfillError
from pipeline.execute.code_version import code_version
from pipeline.flow import Flow
from pipeline.plan import Plan
from pipeline.records import Shard
from pipeline.storage.store import open_store


@dataclass(frozen=True, kw_only=True)
class NodeCheck:
    """code: the version of Segfill that the driver runs. shard: the first one to read; None without one. token: path
    and content of a file that the driver wrote where a local sink will be; empty for a bucket."""

    flow: Flow
    code: str
    shard: Shard | None
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
        if self.shard is None:
            return ""
        path = self.shard.members[0].path if self.shard.members else self.shard.path
        size = open_store(self.flow.source.uri).stat(path).size
        expected = self.shard.members[0].size if self.shard.members else self.shard.size
        if size != expected:
            return (
                f"sees {size} bytes of {path} in source.uri={self.flow.source.uri} where this machine sees {expected}; "
                "share that folder with every node, or use a bucket"
            )
        return ""

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


@contextlib.contextmanager
def node_check(flow: Flow, plan: Plan) -> Iterator[NodeCheck]:
    """Prepare the check; the token stands while it lasts."""
    with _token(flow.sink.uri) as token:
        shard = plan.pending[0].shard if plan.pending else None
        yield NodeCheck(flow=flow, code=code_version(), shard=shard, token=token)


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
