"""Identifies a run, and names the differences between two."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Final

from pipeline.errors import OutputError

FORMAT: Final = 3
"""Version of the objects under `_run/` and `_commit/`, of the names in them, and of the tables. 2: the stage `crop` is
between select and fill, seconds of `sink` are part of `commit`, config keys have the names of docs/config.md. 3: every
image of a sample is a row, the index has image_uri, outputs and sidecars, class ids are those of classes.json."""

_SHOWN: Final = 5
_SHOWN_SHARDS: Final = 3
_LONGEST: Final = 60


@dataclass(frozen=True, kw_only=True, slots=True)
class Identity:
    """Everything that the output depends on. Two commands with the same identity write the same bytes.

    config: dotted key -> canonical JSON, the semantic keys only. weights: URI -> sha256. code: version. source: shard
    path -> "size:etag".
    """

    config: Mapping[str, str]
    weights: Mapping[str, str]
    code: str
    source: Mapping[str, str]

    @property
    def digest(self) -> str:
        """SHA-256 of the identity, 64 hex digits."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def to_json(identity: Identity) -> bytes:
    """Return the manifest: the same bytes for the same identity."""
    return json.dumps(
        {"format": FORMAT, "digest": identity.digest, **asdict(identity)}, sort_keys=True, indent=1
    ).encode()


def from_json(data: bytes, uri: str) -> Identity:
    """Read a manifest. Raises OutputError if it is of another format, not a manifest, or was changed. uri: of it."""
    try:
        found = json.loads(data)
        if (written := found.get("format", 1)) != FORMAT:
            raise OutputError(
                f"{uri} is of format {written}, written by Segfill {str(found['code']).partition('+')[0]}; expected "
                f"format {FORMAT}: finish or read that output with its own version, or choose another sink.uri"
            )
        identity = Identity(
            config=_texts(found["config"]),
            weights=_texts(found["weights"]),
            code=str(found["code"]),
            source=_texts(found["source"]),
        )
        if found["digest"] != identity.digest:
            raise ValueError("its digest does not match its content")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise OutputError(f"{uri} is not a manifest of ours ({error}); choose another sink.uri") from error
    return identity


def _texts(value: Mapping[str, object]) -> dict[str, str]:
    return {str(key): str(item) for key, item in value.items()}


def differences(old: Identity, new: Identity) -> str:
    """Return one line that names the differences, from old to new; "" if there are none."""
    found = [
        *_changed("", old.config, new.config),
        *_changed("weights ", old.weights, new.weights),
        *([f"code: {old.code} -> {new.code}"] if old.code != new.code else []),
        *_shards(old.source, new.source),
    ]
    more = [f"and {len(found) - _SHOWN} more"] if len(found) > _SHOWN else []
    return "; ".join(found[:_SHOWN] + more)


def _changed(title: str, old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    return [
        f"{title}{key}: {_short(old.get(key, '(not set)'))} -> {_short(new.get(key, '(not set)'))}"
        for key in sorted({*old, *new})
        if old.get(key) != new.get(key)
    ]


def _short(value: str) -> str:
    return value if len(value) <= _LONGEST else value[: _LONGEST - 1] + "…"


def _shards(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    groups = {
        "added": sorted(new.keys() - old.keys()),
        "removed": sorted(old.keys() - new.keys()),
        "changed": sorted(path for path in old.keys() & new.keys() if old[path] != new[path]),
    }
    parts = [
        f"{len(paths)} {'shard' if len(paths) == 1 else 'shards'} {what} "
        f"({', '.join(paths[:_SHOWN_SHARDS])}{', ...' if len(paths) > _SHOWN_SHARDS else ''})"
        for what, paths in groups.items()
        if paths
    ]
    return [f"source: {', '.join(parts)}"] if parts else []
