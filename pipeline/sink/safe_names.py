"""What a published file is called: safe, the same on every run, and never one name for two files.

Names come from strangers (tar members, folders, Parquet rows). A name that is safe stays as it is. One that is not
(`..`, absolute, a drive letter, empty parts, control characters, also those that turn the direction of writing,
backslashes, bytes that are not UTF-8, too long, like our temporary files) is cleaned and gets `~` and 8 hex digits of a
hash of the original name, so that two names never become one.
"""

from __future__ import annotations

import re
import unicodedata
from hashlib import blake2b, sha256
from typing import Final

from pipeline.image.header import IMAGE_SUFFIXES
from pipeline.records import ImageRef, OutputFile

_UNSAFE: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\\\ud800-\udfff\u2028-\u202e\u2066-\u2069]")
_DRIVE: Final = re.compile(r"^([A-Za-z]):")
_TEMPORARY: Final = ".segfill-"
"""How the files begin that a store hides and sweeps away."""
_SAME: Final = {".jpeg": ".jpg", ".jpe": ".jpg", ".jfif": ".jpg", ".tiff": ".tif", ".dib": ".bmp", ".apng": ".png"}
# A part of a path may have 255 bytes on common file systems, a key 1,024 on S3. The rest is for suffixes and prefixes.
_PART_BYTES: Final = 180
_PATH_BYTES: Final = 640
_EXTENSION_BYTES: Final = 60
_CONTAINERS: Final = (".tar", ".tar.gz", ".tgz", ".parquet", ".pq")


def addressed(folder: str, unit: str, suffix: str, data: bytes) -> OutputFile:
    """A file named after its content: other bytes never get the same name, the same bytes always do."""
    digest = sha256(data).hexdigest()
    return OutputFile(path=f"{folder}/{unit}-{digest[:12]}{suffix}", data=data, sha256=digest)


def folder_of(shard: str) -> str:
    """The folder for the loose files of a shard, with a slash at its end; empty for a slice of a folder.

    Two tars may hold the same member, so the shard's whole path is the folder: `a.tar` and `a.tar.gz` stay apart.
    """
    return f"{safe(shard)}/" if shard.lower().endswith(_CONTAINERS) else ""


def safe(name: str) -> str:
    """`name` as a relative POSIX path that any store and any tar reader can take; unchanged when it is one already."""
    clean = "/".join(_part(part) for part in _DRIVE.sub(r"\1_", name).split("/"))
    if len(clean.encode()) > _PATH_BYTES:
        clean = clean.encode()[:_PART_BYTES].decode(errors="ignore").replace("/", "_")
    return clean if clean == name else f"{clean}~{_hash(name)}"


def _part(part: str) -> str:
    clean = _UNSAFE.sub("_", part).encode()[:_PART_BYTES].decode(errors="ignore")
    if clean.startswith(_TEMPORARY):
        return clean.replace(".", "_", 1)
    return "_" if clean in ("", ".", "..") else clean


def _extension(text: str) -> str:
    """What follows the key: cleaned like a part of a path."""
    clean = _UNSAFE.sub("_", text).replace("/", "_")
    if clean == text and len(text.encode()) <= _EXTENSION_BYTES:
        return text
    return f".{_hash(text)}" + (clean[clean.rindex(".") :][:12] if "." in clean else "")


def _hash(name: str) -> str:
    return blake2b(name.encode("utf-8", "surrogateescape"), digest_size=4).hexdigest()


class Names:
    """The names given out in one unit, for one kind of image. All names of a sample share its stem, its safe key.

    loose: the names become files. Then names that differ only by case or Unicode form are told apart too, because some
    file systems cannot; and a changed suffix is added (`a.png` -> `a.png.jpg`), so that names stay apart between units
    as well. Inside a tar it is replaced (`a.png` -> `a.jpg`), as long as nothing else there has that name.
    Case collisions between units cannot be seen here: a case-sensitive store is needed for sources that have them.
    """

    def __init__(self, *, loose: bool) -> None:
        self._loose = loose
        self._stems: dict[str, str] = {}  # as compared -> the key it stands for
        self._used: dict[str, str] = {}  # as compared -> sha256 of its data, empty for an image

    def stem(self, ref: ImageRef) -> str:
        base, _ = _base_and_rest(ref)
        if not self._loose and not _is_key_of(ref):
            # A reader of the tar ends a key at its first dot; a key from a column may hold others.
            folder, slash, name = base.rpartition("/")
            base = folder + slash + name.replace(".", "_")
        stem, owner = safe(base), base if self._loose else ref.key
        if self._stems.setdefault(self._compared(stem), owner) != owner:
            stem = f"{stem}~{_hash(owner)}"
        return stem

    def image(self, stem: str, ref: ImageRef, suffix: str) -> str:
        """The name of an image that is written with `suffix`."""
        _, rest = _base_and_rest(ref)
        front, own = _split(rest)
        if _SAME.get(own.lower(), own.lower()) == suffix and not (self._loose and _split(stem + front)[1]):
            choice = rest
        elif self._loose:
            choice = rest + suffix
        else:
            choice = front + suffix
        for extension in (choice, rest + suffix, f".{ref.image_id[:8]}{suffix}"):
            name = stem + _extension(extension)
            if self._compared(name) not in self._used:
                break
        self._used[self._compared(name)] = ""
        return name

    def sidecar(self, stem: str, extension: str, data: bytes) -> str:
        """The name of a sidecar; empty when the very same one has a name already (two images of one sample)."""
        digest = sha256(data).hexdigest()
        for candidate in (f".{extension}", f".{digest[:8]}.{extension}"):
            name = stem + _extension(candidate)
            if self._compared(name) not in self._used:
                self._used[self._compared(name)] = digest
                return name
            if self._used[self._compared(name)] == digest:
                break
        return ""

    def _compared(self, name: str) -> str:
        return unicodedata.normalize("NFC", name).casefold() if self._loose else name


def _is_key_of(ref: ImageRef) -> bool:
    """False for a key that comes from a column of a Parquet file: the member is then a row number."""
    return ref.member == ref.key or ref.member.startswith(f"{ref.key}.")


def _base_and_rest(ref: ImageRef) -> tuple[str, str]:
    """The name in the source, cut where the key ends: (`d/a`, `.left.jpg`)."""
    return (ref.key, ref.member.removeprefix(ref.key)) if _is_key_of(ref) else _split(ref.key)


def _split(name: str) -> tuple[str, str]:
    """`.left.jpg` -> (`.left`, `.jpg`); an empty suffix when the name does not end like an image."""
    front, dot, last = name.rpartition(".")
    return (front, dot + last) if (dot + last).lower() in IMAGE_SUFFIXES else (name, "")
