"""Parse the name of a member: its sample key and field, its stem, whether it is an image and safe to write.

A sample key is the folders and the base name up to its FIRST dot, as in WebDataset (github.com/webdataset/webdataset,
`base_plus_ext`); the rest is the field. A stem is the name without its LAST suffix. Dots that begin a base name belong
to both, so `..a.jpg` has the key `..a` and is never lost.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

_MAX_NAME: Final = 1024  # bytes; the longest key that S3 takes
_MAX_PART: Final = 255  # bytes; the longest name that file systems take
_CLUTTER: Final = frozenset({".ds_store", "thumbs.db", "desktop.ini"})


def text(raw: bytes) -> str:
    r"""Decode a name to text that any table can hold: UTF-8, with `\xNN` for each byte that is not."""
    return raw.decode("utf-8", "backslashreplace")


def tidy(name: str) -> str:
    """Remove `./`, doubled slashes and a slash at the end. A leading slash and `..` stay, for `problem` to find."""
    lead = "/" if name.startswith("/") else ""
    return lead + "/".join(part for part in name.split("/") if part not in ("", "."))


def problem(name: str) -> str:
    """Say why a tidy name cannot be used as a relative path; empty when it can."""
    if not name:
        return "the name is empty"
    if name.startswith("/"):
        return "the name is absolute"
    parts = name.split("/")
    if ".." in parts:
        return "the name climbs out of its folder with .."
    if any(ord(c) < 0x20 or ord(c) == 0x7F for c in name):
        return "the name holds control characters"
    if len(name.encode("utf-8", "replace")) > _MAX_NAME or any(
        len(p.encode("utf-8", "replace")) > _MAX_PART for p in parts
    ):
        return f"the name is longer than {_MAX_NAME} bytes, or a part of it longer than {_MAX_PART}"
    return ""


def split(name: str) -> tuple[str, str]:
    """Split a name into sample key and field: `a/b.seg.png` is `a/b` and `seg.png`."""
    folder, slash, base = name.rpartition("/")
    stem = base.lstrip(".")
    head, _, extension = stem.partition(".")
    return f"{folder}{slash}{base[: len(base) - len(stem)]}{head}", extension


def stem(name: str) -> str:
    """Cut off the last suffix: `a/v1.0.cat.jpg` is `a/v1.0.cat`."""
    key, extension = split(name)
    front, dot, _ = extension.rpartition(".")
    return f"{key}.{front}" if dot else key


def is_image(name: str, suffixes: Collection[str]) -> bool:
    """Whether the last suffix of a name is one of `suffixes` (lower case, with the dot). The name's case is ignored."""
    extension = split(name)[1]
    return bool(extension) and f".{extension.rpartition('.')[2].lower()}" in suffixes


def clutter(name: str) -> bool:
    """Whether a name is one that systems give to files of their own: `._*` (AppleDouble), `.DS_Store`, all below
    `__MACOSX/`, `Thumbs.db`, `desktop.ini`."""
    *folders, base = name.lower().split("/")
    return base.startswith("._") or base in _CLUTTER or "__macosx" in folders


def hidden(path: str) -> bool:
    """Whether any part of a path begins with a dot."""
    return any(part.startswith(".") for part in path.split("/"))
