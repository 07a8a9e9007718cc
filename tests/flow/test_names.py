"""Hostile names through every source and every sink: each image has its row, nothing is written outside the output, and
a careless reader can unpack the published files."""

import io
import os
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.entry import main
from tests.fakes import input_catalogue
from tests.fakes.metadata_samples import saved
from tests.fakes.published_output import rows

LONG = "long" * 60
HOSTILE = [
    "../climbs",
    "../../../../../../../../tmp/segfill-escaped",
    "a/../../climbs",
    "a/b/../../../climbs",
    "/absolute",
    "//absolute",
    "/etc/cron.d/segfill",
    "~/home",
    "~root/home",
    "./dot",
    "a/./dot",
    "a//empty",
    "..",
    "...",
    "..\\..\\windows",
    "C:\\windows",
    "c:drive",
    "\\\\server\\share",
    "nul\0byte",
    "new\nline",
    "\x1b[31mred\x1b[0m",
    "\u202egnp.exe",
    "\u2066isolated\u2069",
    "\u2024\u2024/one-dot-leaders",
    "\uff0e\uff0e/fullwidth",
    "a\u2215b",
    "%2e%2e%2fencoded",
    "%00",
    "-rf",
    "--help",
    "$(touch ran)",
    "`touch ran`",
    "; touch ran",
    "*",
    "a?b",
    "<img src=x onerror=alert(1)>",
    "</script><script>alert(1)</script>",
    "=cmd|' /C calc'!A0",
    "@SUM(1+1)",
    "s3://bucket/x",
    "file:///etc/passwd",
    "http://127.0.0.1/x",
    "CON",
    "name.",
    "name ",
    " name",
    ".segfill-0123456789abcdef",
    "_run/manifest",
    "../_commit/x",
    "nfc-\u00e9",
    "nfd-e\u0301",
    "\ud7ff\ufffe",
    LONG,
    f"{LONG}/{LONG}/{LONG}/{LONG}/{LONG}",
]
PICTURE = saved(input_catalogue.plain(), "PNG")
PLAIN = ["execute=local", "segment=[faces]", "select=faces"]
KEPT = "a published name stays inside the output, whatever the source calls its images"


def as_tar(folder: Path) -> int:
    """Packed as they are, image and caption by turns."""
    entries = [
        input_catalogue.entry(name + suffix, data)
        for name in HOSTILE
        for suffix, data in ((".png", PICTURE), (".txt", b"text"))
    ]
    (folder / "names.tar").write_bytes(input_catalogue.tar(*entries))
    return len(HOSTILE)


def as_folder(folder: Path) -> int:
    """The names that a file system can hold."""
    for name in HOSTILE:
        parts = [part for part in name.split("/") if part not in ("", ".", "..")]
        if not parts or "\0" in name or any(part.startswith(".") for part in parts):  # hidden files are skipped
            continue
        path = folder.joinpath(*parts)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_name(path.name + ".png").write_bytes(PICTURE)
        path.with_name(path.name + ".txt").write_bytes(b"text")
    return len(list(folder.rglob("*.png")))


def as_parquet(folder: Path) -> int:
    rows = {
        "image": [{"bytes": PICTURE, "path": f"{name}.png"} for name in HOSTILE],
        "name": HOSTILE,
        "../column\0": ["=1+1"] * len(HOSTILE),
    }
    pq.write_table(pa.table(rows), folder / "names.parquet")
    return len(HOSTILE)


SOURCES = {
    "tar": (as_tar, []),
    "folder": (as_folder, []),
    "parquet": (as_parquet, ["source=parquet", "source.key_column=name"]),
}


def published(out: Path) -> Iterator[str]:
    """Every name under which a reader would write a file."""
    for path in (out / "rendered").rglob("*"):
        if not path.is_file():
            continue
        yield path.relative_to(out).as_posix()
        if path.suffix == ".tar":
            with tarfile.open(path) as tar:
                for member in tar:
                    assert member.isreg(), member.name
                    yield member.name
        elif path.suffix == ".parquet":
            for row in pq.read_table(io.BytesIO(path.read_bytes())).to_pylist():
                yield row["image"]["path"]


def tree(folder: Path, without: Path) -> list[str]:
    return sorted(str(path) for path in folder.rglob("*") if not path.is_relative_to(without))


MORE = [("tar", "parquet"), ("folder", "tar"), ("folder", "parquet"), ("parquet", "tar")]


@pytest.mark.promise(KEPT)
@pytest.mark.parametrize(
    ("source", "sink"),
    [
        *(("tar", "tar"), ("tar", "files"), ("folder", "files"), ("parquet", "parquet"), ("parquet", "files")),
        *(pytest.param(source, sink, marks=pytest.mark.chaos) for source, sink in MORE),
    ],
)
def test_hostile_names(source: str, sink: str, tmp_path: Path) -> None:
    box, given = tmp_path / "box", tmp_path / "in"
    out = box / "deep" / "deeper" / "out"
    given.mkdir()
    make, options = SOURCES[source]
    images = make(given)
    (box / "neighbour").mkdir(parents=True)
    (box / "neighbour" / "file").write_bytes(b"precious")
    before = tree(tmp_path, out)

    overrides = [
        f"source.uri={given}",
        f"sink.uri={out}",
        f"sink={sink}",
        "execute=local",
        "max_reject_share=1.0",
        "audit=none",
    ]
    code = main("anonymize", [*overrides, "render.keep_sidecars=true", *options])
    assert code == 0

    assert [path for path in tree(tmp_path, out) if path not in before] == [str(out.parent.parent), str(out.parent)]
    assert not os.path.lexists("/tmp/segfill-escaped.png")
    found = rows(out)
    lost = images - len([row for row in found if not row["member"].endswith(".txt")])
    assert lost <= 0 if source == "tar" else lost == 0  # a tar's captions with such names are rows of their own
    assert all(row["status"] == "unchanged" or row["reason"] for row in found)
    accepted = [row for row in found if row["status"] == "unchanged"]
    assert len(accepted) >= images - 16  # the rest are rejected by their names, with a reason
    names = list(published(out))
    assert len(names) >= len(accepted)
    for name in names:
        assert not {"", ".", ".."} & set(name.split("/")), name
        assert not any(ord(letter) < 32 or letter in "\\\x7f\u202e\u2066\u2069" for letter in name), name
        assert name[1:2] != ":", name
        assert all(len(part.encode()) <= 255 for part in name.split("/")), name
        assert len(name.encode()) <= 900, name
    assert len({(row["output"], row["output_member"]) for row in accepted}) == len(accepted)


@pytest.mark.promise("nothing is written or deleted outside the output, also where links in it lead there")
@pytest.mark.parametrize("place", ["rendered/filled/link", "masks/link", "rendered/link"])
def test_what_a_link_in_the_output_leads_to_survives_the_end_of_a_run(place: str, tmp_path: Path) -> None:
    given, out, victim = tmp_path / "in", tmp_path / "out", tmp_path / "victim"
    given.mkdir()
    (given / "a.png").write_bytes(PICTURE)
    arguments = [f"source.uri={given}", f"sink.uri={out}", "execute=local", "audit=none"]
    assert main("clean", arguments) == 0
    (out / "_run" / "SUCCESS.json").unlink()  # as if it had been killed just before its end
    victim.mkdir()
    (victim / "photo.png").write_bytes(b"precious")
    (out / place).symlink_to(victim)
    assert main("clean", arguments) == 1
    assert (victim / "photo.png").read_bytes() == b"precious"
    (out / place).unlink()
    assert main("clean", arguments) == 0


def test_names_cannot_steer_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = tmp_path / "in"
    given.mkdir()
    for name in ("\x1b[2Jred\x9b31m.tar", "two\r\nlines.tar", "\u202eturned.tar"):
        (given / name).write_bytes(b"no tar")
    (given / "good.tar").write_bytes(input_catalogue.tar(input_catalogue.entry("a.png", PICTURE)))
    assert main("clean", [*PLAIN, f"source.uri={given}", f"sink.uri={tmp_path / 'out'}"]) == 3
    assert main("clean", [f"source.uri='{given}/\x1b[31mnone'", f"sink.uri={tmp_path / 'other'}"]) == 2
    captured = capsys.readouterr()
    for text in (captured.out, captured.err):
        assert not re.search(r"[^\n\r\x20-\x7e]", text)  # \r: our own progress line
    assert "lines.tar" in captured.out + captured.err
