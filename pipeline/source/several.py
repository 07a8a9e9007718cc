"""Name several sources in one `source.uri`: `[a,b]`, or `@FILE` with one URI a line (empty lines and `#` are skipped).

What exists is literal first, so a folder called `[a,b]` stays one. Paths of all are relative to the common root: names
stay unique, and do not change when a source is added beside the others.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from pathlib import Path

from pipeline import typed
from pipeline.errors import ConfigError, SourceError


def uris_of(uri: str) -> tuple[str, ...]:
    """The URIs that a value of source.uri names; one for itself where it is no list. Raises ConfigError."""
    if os.path.lexists(uri):
        return (uri,)
    if uri.startswith("@"):
        try:
            lines = [line.strip() for line in Path(uri[1:]).expanduser().read_text("utf-8").splitlines()]
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"source.uri={uri}: cannot read the list of sources ({error})") from error
        found = [line for line in lines if line and not line.startswith("#")]
    elif uri.startswith("[") and uri.endswith("]") and ("," in uri or "://" in uri):
        found = typed.parts_of(uri)
    else:
        return (uri,)
    if not found:
        raise ConfigError(f"source.uri={uri} lists no source; expected one URI a line")
    return tuple(dict.fromkeys(found))


def common_root(roots: Sequence[str]) -> str:
    """The deepest folder or prefix that holds all of these normal URIs. Raises SourceError for different stores."""
    split = [root.split("/") for root in roots]
    shared = [parts[0] for parts in itertools.takewhile(lambda parts: len(set(parts)) == 1, zip(*split, strict=False))]
    least = 3 if "://" in roots[0] else 1  # `s3:`, ``, bucket
    if len(shared) < least:
        raise SourceError(
            f"source.uri: {roots[0]} and {next(r for r in roots if r.split('/')[:least] != split[0][:least])} lie in "
            "different stores; copy them into one, or run them one by one"
        )
    return "/".join(shared) or "/"
