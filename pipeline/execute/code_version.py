"""The version of the code that runs here: of the driver for the identity of a run, of each node to be the same."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pipeline


def code_version() -> str:
    """The release and a hash over the package's own sources: only the same code is sure to write the same bytes."""
    root = Path(pipeline.__file__).parent
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return f"{pipeline.__version__}+{digest.hexdigest()[:12]}"
