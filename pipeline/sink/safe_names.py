"""Names published files: safe names, the same on every run, never one name for two files.

Names come from untrusted data (tar members, folders, Parquet rows). A safe name is kept. An unsafe one (`..`, absolute,
a drive letter, empty parts, control characters and those that change the direction of writing, backslashes, bytes that
are not UTF-8, too long, the prefix of temporary files) is cleaned and gets `~` and 8 hex digits of a hash of the
original name, so that two names never become one.
"""

from __future__ import annotations

import re
import unicodedata
from hashlib import blake2b, sha256
from typing import Final

from pipeline.image.kinds import IMAGE_SUFFIXES
from pipeline.records import ImageRef, OutputFile

_UNSAFE: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\\\ud800-\udfff\u2028-\u202e\u2066-\u2069]")
_DRIVE: Final = re.compile(r"^([A-Za-z]):")
_TEMPORARY: Final = ".segfill-"
"""Prefix of a store's temporary files, which it hides and removes."""
_SAME: Final = {".jpeg": ".jpg", ".jpe": ".jpg", ".jfif": ".jpg", ".tiff": ".tif", ".dib": ".bmp", ".apng": ".png"}
# Common file systems allow 255 bytes in a part of a path, S3 1,024 in a key; the rest is for suffixes and prefixes.
_PART_BYTES: Final = 180
_PATH_BYTES: Final = 640
_EXTENSION_BYTES: Final = 60
_CONTAINERS: Final = (".tar", ".tar.gz", ".tgz", ".parquet", ".parq", ".pq")


def addressed(folder: str, unit: str, suffix: str, data: bytes) -> OutputFile:
    """Return a file named after its unit and content: equal bytes get equal names, other bytes other names."""
    digest = sha256(data).hexdigest()
    return OutputFile(path=f"{folder}/{unit}-{digest[:12]}{suffix}", data=data, sha256=digest)


def folder_of(shard: str) -> str:
    """Return the folder for the loose files of a shard, with a final slash; empty for a slice of a folder.

    Two tars may hold the same member, so the folder is the shard's whole path: `a.tar` and `a.tar.gz` stay apart.
    """
    return f"{safe(shard)}/" if shard.lower().endswith(_CONTAINERS) else ""


def safe(name: str) -> str:
    """Return `name` as a relative POSIX path that every store and tar reader accepts; unchanged if it is one."""
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
    """Clean the part of a name after its key."""
    clean = _UNSAFE.sub("_", text).replace("/", "_")
    if clean == text and len(text.encode()) <= _EXTENSION_BYTES:
        return text
    return f".{_hash(text)}" + (clean[clean.rindex(".") :][:12] if "." in clean else "")


def _hash(name: str) -> str:
    return blake2b(name.encode("utf-8", "surrogateescape"), digest_size=4).hexdigest()


class Names:
    """Gives out the names of one unit and one kind of image. All names of a sample share its stem, the safe key.

    loose: the names become files. Names that differ only by case or Unicode form then count as equal, as on some file
    systems; and a changed suffix is appended (`a.png` -> `a.png.jpg`), so that names of different units stay apart.
    Inside a tar the suffix is replaced (`a.png` -> `a.jpg`), unless that name is taken. Case collisions between units
    are not detected here: sources that have them need a case-sensitive store.
    """

    def __init__(self, *, loose: bool) -> None:
        self._loose = loose
        self._stems: dict[str, str] = {}  # folded name -> its key
        self._used: dict[str, str] = {}  # folded name -> sha256 of its data, empty for an image

    def stem(self, ref: ImageRef) -> str:
        """Return the stem that the image and its sidecars share."""
        base, _ = _base_and_rest(ref)
        if not self._loose and not _is_key_of(ref):
            # Tar readers end a key at its first dot; a key from a column may hold more dots.
            folder, slash, name = base.rpartition("/")
            base = folder + slash + name.replace(".", "_")
        stem, owner = safe(base), base if self._loose else ref.key
        if self._stems.setdefault(self._folded(stem), owner) != owner:
            stem = f"{stem}~{_hash(owner)}"
        return stem

    def image(self, stem: str, ref: ImageRef, suffix: str) -> str:
        """Return the name of an image that is written with `suffix` (".jpg")."""
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
            if self._folded(name) not in self._used:
                break
        self._used[self._folded(name)] = ""
        return name

    def sidecar(self, stem: str, extension: str, data: bytes) -> str:
        """Return the name of a sidecar; empty when the same bytes already have one (two images of one sample)."""
        digest = sha256(data).hexdigest()
        for candidate in (f".{extension}", f".{digest[:8]}.{extension}"):
            name = stem + _extension(candidate)
            if self._folded(name) not in self._used:
                self._used[self._folded(name)] = digest
                return name
            if self._used[self._folded(name)] == digest:
                break
        return ""

    def _folded(self, name: str) -> str:
        return unicodedata.normalize("NFC", name).casefold() if self._loose else name


def _is_key_of(ref: ImageRef) -> bool:
    """Return False for a key from a column of a Parquet file, whose member is a row number."""
    return ref.member == ref.key or ref.member.startswith(f"{ref.key}.")


def _base_and_rest(ref: ImageRef) -> tuple[str, str]:
    """Split the name in the source where its key ends: (`d/a`, `.left.jpg`)."""
    return (ref.key, ref.member.removeprefix(ref.key)) if _is_key_of(ref) else _split(ref.key)


def _split(name: str) -> tuple[str, str]:
    """Split off an image suffix: `.left.jpg` -> (`.left`, `.jpg`); the suffix is empty for other names."""
    front, dot, last = name.rpartition(".")
    return (front, dot + last) if (dot + last).lower() in IMAGE_SUFFIXES else (name, "")
