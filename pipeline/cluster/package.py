"""What travels to a cluster: the sources of this installation, or a list of pinned packages.

Both make sure that nodes run the code that composed the config: the identity of a run holds a hash of its sources.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from pipeline.errors import ConfigError

PACKAGES: Final = ("conf", "jobs", "pipeline")
_DISTRIBUTION: Final = "segfill"
_LEFT_OUT: Final = shutil.ignore_patterns("__pycache__", "*.pyc", ".*", "*.egg-info")


def home(package: str) -> Path:
    """The folder of a package as it is imported here."""
    found = find_spec(package)
    if found is None or found.origin is None:
        raise ConfigError(f"the package {package} of this installation is not found; install Segfill again")
    return Path(found.origin).resolve().parent


def copy_to(folder: Path) -> str:
    """Copy the sources into an empty folder, without caches. Return the sha256 over names and bytes, 64 hex digits."""
    for package in PACKAGES:
        shutil.copytree(home(package), folder / package, ignore=_LEFT_OUT)
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        data = path.read_bytes()
        digest.update(f"{path.relative_to(folder).as_posix()}\0{len(data)}\0".encode() + data)
    return digest.hexdigest()


def pins(extras: Sequence[str] = (), *, without: Sequence[str] = ("ray",)) -> list[str]:
    """`name==version` of every package that Segfill needs, as it is installed here. extras: those of pyproject.toml.
    without: packages that a node has already, with all that only they need. Raises ConfigError for what is not
    installed here."""
    found: dict[str, str] = {}
    waiting = [(line, extra) for line in _requirements(_DISTRIBUTION) for extra in ("", *extras)]
    while waiting:
        line, extra = waiting.pop()
        requirement = Requirement(line)
        name = canonicalize_name(requirement.name)
        if name in (*without, _DISTRIBUTION) or name in found:
            continue
        if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
            continue
        try:
            version = Version(metadata.version(name)).public  # 2.13.0+cpu is the CPU build of 2.13.0
        except metadata.PackageNotFoundError as error:
            raise ConfigError(
                f"cluster.install: {name} is not installed here, so its version cannot be pinned; install "
                f"segfill{f'[{extra}]' if extra else ''} first"
            ) from error
        found[name] = version
        waiting += [(each, inner) for each in _requirements(name) for inner in ("", *requirement.extras)]
    return sorted(f"{name}=={version}" for name, version in found.items())


def _requirements(name: str) -> list[str]:
    try:
        return metadata.requires(name) or []
    except metadata.PackageNotFoundError as error:
        raise ConfigError(
            f"cluster.install: {name} is not installed as a package here, so what it needs is not known; pip install it"
        ) from error
