"""Parse the name of a member: its sample key, its extension, whether it is an image and safe to write.

A key is the folders and the base name up to its FIRST dot, as in WebDataset (github.com/webdataset/webdataset,
`base_plus_ext`). Dots that begin a base name belong to the key, so `._a.jpg` has the key `._a` and is never lost.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

_MAX_NAME: Final = 1024  # bytes; the longest key that S3 takes
_MAX_PART: Final = 255  # bytes; the longest name that file systems take


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
    """Split a name into key and extension: `a/b.seg.png` is `a/b` and `seg.png`."""
    folder, slash, base = name.rpartition("/")
    stem = base.lstrip(".")
    head, _, extension = stem.partition(".")
    return f"{folder}{slash}{base[: len(base) - len(stem)]}{head}", extension


def is_image(name: str, suffixes: Collection[str]) -> bool:
    """Whether the last suffix of a name is one of `suffixes` (lower case, with the dot). The name's case is ignored."""
    extension = split(name)[1]
    return bool(extension) and f".{extension.rpartition('.')[2].lower()}" in suffixes


def hidden(path: str) -> bool:
    """Whether any part of a path begins with a dot."""
    return any(part.startswith(".") for part in path.split("/"))
