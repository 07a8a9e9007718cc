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
from typing import Final, Literal, TypeAlias

from pipeline.image.kinds import IMAGE_SUFFIXES, KINDS
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
_TARS: Final = next(kind.suffixes for kind in KINDS if kind.name == "tar")
_PARQUETS: Final = next(kind.suffixes for kind in KINDS if kind.name == "Parquet")

Into: TypeAlias = Literal["tar", "files", "parquet"]


def addressed(folder: str, unit: str, suffix: str, data: bytes) -> OutputFile:
    """Return a file named after its unit and content: equal bytes get equal names, other bytes other names."""
    digest = sha256(data).hexdigest()
    return OutputFile(path=f"{folder}/{unit}-{digest[:12]}{suffix}", data=data, sha256=digest)


def folder_of(shard: str) -> str:
    """Return the folder for the loose files of a shard, with a final slash; empty for a slice of a folder.

    Two tars may hold the same member, so the folder is the shard's whole path: `a.tar` and `a.tar.gz` stay apart.
    """
    return f"{safe(shard)}/" if shard.lower().endswith((*_TARS, *_PARQUETS)) else ""


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
    """Gives out the names of one unit and one kind of image.

    shard: of the unit; its suffix tells the kind of source. into: what the names are written to. derived: images of
    this kind never keep the suffix of their source (a label map is a PNG): as files they are called by their key.

    An image and its sidecars share a stem:

    - as files, and in Parquet, the name of the image without its last suffix (of a Parquet row: the key);
    - from tar to tar the sample key, so that every member keeps its own name and each sample its members;
    - from folders and Parquet rows into a tar the same as for files, with `_` for each dot: tar readers end a key at
      its first dot, so that each image is a sample with its own sidecars.

    A sidecar of a whole sample (`1.json` of `1.left.jpg`) keeps its own name as a file.

    Names that differ only by case or Unicode form count as equal for files, as on some file systems; and a changed
    suffix is appended (`a.png` -> `a.png.jpg`), so that names of different units stay apart. Elsewhere the suffix is
    replaced (`a.png` -> `a.jpg`), unless that name is taken. Case collisions between units are not detected here:
    sources that have them need a case-sensitive store.
    """

    def __init__(self, shard: str, *, into: Into, derived: bool = False) -> None:
        self._of_tar = shard.lower().endswith(_TARS)
        self._of_parquet = shard.lower().endswith(_PARQUETS)
        self._into = into
        self._loose = into == "files"
        self._by_key = self._loose and derived
        self._stems: dict[str, str] = {}  # folded name -> its owner
        self._used: dict[str, str] = {}  # folded name -> sha256 of its data, empty for an image

    def image(self, ref: ImageRef, suffix: str) -> str:
        """Return the name of an image that is written with `suffix` (".jpg")."""
        base, rest = (ref.key, "") if self._by_key else self._base_and_rest(ref)
        stem = self._stem(base, ref)
        front, own = _split(rest)
        if _same(own) == suffix and not (self._loose and _may_be_changed(stem + front, suffix)):
            choice = rest
        elif self._loose:
            choice = rest + suffix
        else:
            choice = front + suffix
        for extension in (choice, rest + suffix, f".{ref.image_id[:8]}{suffix}", f".{ref.image_id}{suffix}"):
            name = stem + _extension(extension)
            if self._folded(name) not in self._used:
                break
        self._used[self._folded(name)] = ""
        return name

    def sidecar(self, ref: ImageRef, name: str, data: bytes) -> str:
        """Return the name of a sidecar of an image; the bytes of one that an image before it had keep their name (two
        images of one sample). name: of the `Sidecar`."""
        stem, field = self._stem_and_field(ref, name)
        digest = sha256(data).hexdigest()
        for candidate in (f".{field}", f".{digest[:8]}.{field}", f".{digest}.{field}"):
            found = stem + _extension(candidate)
            if self._used.setdefault(self._folded(found), digest) == digest:
                return found
        return ""

    def _stem_and_field(self, ref: ImageRef, name: str) -> tuple[str, str]:
        if self._of_parquet:
            return self._stem(_split(ref.key)[0], ref), name
        sample, stem = _sample(ref.member), _stem(ref.member)
        field = field_of(ref, name)
        if self._of_tar and self._into == "tar":
            return self._stem(sample, ref), name
        if stem != sample and field == name and self._loose:
            return self._stem(sample, ref), name
        return self._stem(stem, ref), field

    def _base_and_rest(self, ref: ImageRef) -> tuple[str, str]:
        """Split the name of an image into its stem, not cleaned yet, and the rest: (`d/a`, `.jpg`)."""
        if self._of_parquet:
            return _split(ref.key)
        stem = _stem(ref.member)
        if self._loose and ref.key not in (stem, ref.member):
            return ref.key, ""  # its own name, written with a suffix, is that of another image
        base = _sample(ref.member) if self._of_tar and self._into == "tar" else stem
        return base, ref.member.removeprefix(base)

    def _stem(self, base: str, ref: ImageRef) -> str:
        owner = ref.key if self._of_parquet and not self._loose else base
        if self._into == "tar" and not self._of_tar:
            folder, slash, name = base.rpartition("/")
            base = folder + slash + name.replace(".", "_")
        stem = safe(base)
        if self._stems.setdefault(self._folded(stem), owner) != owner:
            stem = f"{stem}~{_hash(owner)}"
        return stem

    def _folded(self, name: str) -> str:
        return unicodedata.normalize("NFC", name).casefold() if self._loose else name


def field_of(ref: ImageRef, name: str) -> str:
    """Return the name of a sidecar as its image has it: `txt` for `v1.0.cat.txt` of `v1.0.cat.jpg`, although what
    follows the first dot is `0.cat.txt`."""
    own = _stem(ref.member)[len(_sample(ref.member)) + 1 :]
    return name.removeprefix(f"{own}.") if own else name


def _sample(member: str) -> str:
    """The name up to the first dot of its base name, as `source.names.split` has it."""
    folder, slash, base = member.rpartition("/")
    stem = base.lstrip(".")
    return folder + slash + base[: len(base) - len(stem)] + stem.partition(".")[0]


def _stem(member: str) -> str:
    """The name without its last suffix, as `source.names.stem` has it."""
    sample = _sample(member)
    return sample + member[len(sample) :].rpartition(".")[0]


def _same(suffix: str) -> str:
    return _SAME.get(suffix.lower(), suffix.lower())


def _may_be_changed(stem: str, suffix: str) -> bool:
    """Whether a name with this suffix may be that of another image whose suffix was changed: `a.png.jpg` of `a.png`,
    but not `a.jpg.jpg`."""
    front, own = _split(stem)
    while own and _same(own) == suffix:
        front, own = _split(front)
    return bool(own)


def _split(name: str) -> tuple[str, str]:
    """Split off an image suffix: `.left.jpg` -> (`.left`, `.jpg`); the suffix is empty for other names."""
    front, dot, last = name.rpartition(".")
    return (front, dot + last) if (dot + last).lower() in IMAGE_SUFFIXES else (name, "")
