"""A pytest plugin that refuses to import Ray: `pytest -p tests.fakes.no_ray`. `make test-fast` runs so."""

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType


class NoRay:
    """First importer of this process. Its child processes import what they need."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name.partition(".")[0] == "ray":
            raise ImportError(f"{name} is imported in a run without Ray")
        return None


sys.meta_path.insert(0, NoRay())
