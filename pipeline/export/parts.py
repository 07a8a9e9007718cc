"""Makes an export resumable and atomic: what each unit gives is a part; the documents of many units are joined from
the parts at the end; `export.json`, written last, says that all is there.

Files that belong to one image or one unit are put at their final place before their part is created. Everything is
computed from the committed tables alone, so doing a unit twice puts the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from pipeline.errors import OutputError, RunError
from pipeline.storage.store import Store

DONE: Final = "export.json"
_FOLDER: Final = "_export"
_MANIFEST: Final = f"{_FOLDER}/manifest.json"
_PARTS: Final = f"{_FOLDER}/parts"
_AHEAD: Final = 16
"""Parts that are in memory at one time."""
_IN_MEMORY: Final = 8 * 2**20
"""Bytes of a document that are kept in memory before it goes through a temporary file."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """What one unit gives. lines: stream -> its pieces of the documents. counts: name -> number, added up over units.
    least: name -> the smallest value over units."""

    lines: Mapping[str, Sequence[str]] = field(default_factory=dict)
    counts: Mapping[str, float] = field(default_factory=dict)
    least: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Stream:
    """The place of all lines of a stream in a document. between: what stands between two of them."""

    name: str
    between: str = ",\n"


@dataclass(frozen=True, kw_only=True)
class Document:
    """One file made of many units. pieces: texts and streams, in order."""

    path: str
    pieces: tuple[str | Stream, ...]


@dataclass(frozen=True)
class Parts:
    """The parts of one export. store: where it goes."""

    store: Store

    def begin(self, identity: Mapping[str, object]) -> bool:
        """Claim the folder: True when the export is already whole. identity: all that its bytes depend on.

        Raises OutputError when something else lies there, or an export with other settings.
        """
        try:
            found = [info.path for info in self.store.list(limit=1)]
        except FileNotFoundError:
            if not self.store.is_local:
                raise
            found = []
        text = json.dumps(identity, indent=1, sort_keys=True)
        if not found:
            self.store.create(_MANIFEST, text.encode())
        if whole := self.whole():
            self._same(whole["identity"], identity)
            return True
        try:
            manifest = json.loads(self.store.read(_MANIFEST))
        except FileNotFoundError as error:
            raise OutputError(
                f"{self.store.uri} is not empty and not an export of ours (it holds {found[0]}); choose an empty or a "
                "new folder"
            ) from error
        self._same(manifest, identity)
        return False

    def whole(self) -> dict[str, Any] | None:
        """`export.json`, where the export is whole."""
        try:
            found: dict[str, Any] = json.loads(self.store.read(DONE))
        except FileNotFoundError:
            return None
        if not isinstance(found, dict) or "identity" not in found:
            raise OutputError(f"{self.store.join(DONE)} is no summary of an export; choose another folder")
        return found

    def _same(self, there: Mapping[str, object], wanted: Mapping[str, object]) -> None:
        plain = json.loads(json.dumps(wanted))
        if differing := sorted(key for key in {*there, *plain} if there.get(key) != plain.get(key)):
            shown = ", ".join(f"{key}: {there.get(key)!r} there, {plain.get(key)!r} now" for key in differing[:3])
            raise OutputError(f"{self.store.uri} holds another export ({shown}); choose a new folder")

    def done(self) -> set[str]:
        """The units whose parts are there."""
        return {info.path.rpartition("/")[2].removesuffix(".json") for info in self.store.list(_PARTS)}

    def put(self, unit_id: str, part: Part) -> None:
        """Create the part of a unit; one that is there is of the same bytes."""
        fields = {"lines": part.lines, "counts": part.counts, "least": part.least}
        self.store.create(_path(unit_id), json.dumps(fields, ensure_ascii=False, sort_keys=True).encode())

    def each(self, unit_ids: Sequence[str]) -> Iterator[Part]:
        """The parts in this order, a few in memory at one time."""
        for first in range(0, len(unit_ids), _AHEAD):
            for path, data in self.store.read_many(map(_path, unit_ids[first : first + _AHEAD])).items():
                try:
                    yield Part(**json.loads(data))
                except (ValueError, TypeError) as error:
                    raise RunError(
                        f"{self.store.join(path)}: not a part of an export ({error}); delete that object and the same "
                        "command does its unit again"
                    ) from error

    def join(self, document: Document, unit_ids: Sequence[str]) -> str:
        """Put a document joined from all parts, by a temporary file where it is large; return its sha256."""
        digest = hashlib.sha256()
        with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY) as file:
            for text in self._texts(document, unit_ids):
                data = text.encode()
                digest.update(data)
                file.write(data)
            self.store.put_file(document.path, file)
        return digest.hexdigest()

    def _texts(self, document: Document, unit_ids: Sequence[str]) -> Iterator[str]:
        for piece in document.pieces:
            if isinstance(piece, str):
                yield piece
                continue
            between = ""
            for part in self.each(unit_ids):
                for line in part.lines.get(piece.name, ()):
                    yield between + line
                    between = piece.between

    def finish(self, summary: Mapping[str, object]) -> None:
        """Write `export.json`, then remove the parts."""
        self.store.put(DONE, json.dumps(summary, indent=1, ensure_ascii=False).encode())
        self.tidy()

    def tidy(self) -> None:
        """Remove what only a resumed export needs, and what killed ones left."""
        self.store.delete([info.path for info in self.store.list(_PARTS)])
        self.store.delete([_MANIFEST])
        self.store.sweep()


def _path(unit_id: str) -> str:
    return f"{_PARTS}/{unit_id}.json"
