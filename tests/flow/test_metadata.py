"""No metadata is published: every format as input, every kind of output, filled or unchanged. Two checks read each
file: a search for planted bytes, and exiftool."""

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from jobs.entry import main
from tests.fakes.crafted_images import avif_gain_map
from tests.fakes.exiftool import EXIFTOOL, MISSING, beyond_the_picture, tags
from tests.fakes.format_samples import PLANTED
from tests.fakes.leak_scan import blobs
from tests.fakes.metadata_samples import (
    SECRET,
    SRGB,
    avif,
    bmp,
    chunk,
    gif,
    jpeg,
    mpo,
    photo,
    png,
    png_deep,
    tiff,
    tiff_deep,
    webp,
)
from tests.fakes.published_output import rows

INPUTS: dict[str, Callable[[Image.Image], bytes]] = {
    "jpeg.jpg": jpeg,
    "jpeg-icc.jpg": lambda image: jpeg(image, icc_profile=SRGB),
    "mpo.jpg": mpo,
    "png.png": png,
    "webp.webp": lambda image: webp(image, quality=80),
    "webp-lossless.webp": lambda image: webp(image, lossless=True),
    "tiff.tif": tiff,
    "tiff-deflate.tif": lambda image: tiff(image, compression="tiff_adobe_deflate"),
    "bmp.bmp": bmp,
    "gif.gif": gif,
    "avif.avif": avif,
    **PLANTED,
    "avif-gain.avif": avif_gain_map,
    "png-odd.png": lambda image: png(image)[:33] + 2 * chunk(b"gAMA", b"\0\0\xb1\x8f") + png(image)[33:],
    "png-16.png": png_deep,
    "tiff-16.tif": tiff_deep,
    "tiff-planes.tif": lambda image: tiff_deep(image, planes=True),
}
"""Each with all metadata that its format can hold: EXIF with GPS, maker note and thumbnail, XMP, IPTC, comments, text,
private chunks and tags, profiles, thumbnails of its own, a second image, row padding, bytes behind the end."""

BLIND = (".bmp", ".nii")
"""Suffixes in which exiftool does not find what is planted."""
KINDS = ("filled", "overlay", "cutout", "labels")
PROMISE = "Published bytes carry no metadata of the original, of any kind"
MARKS = (
    *(b"Exif\0\0", b"eXIf", b"xmpmeta", b"xpacket", b"ns.adobe.com", b"Photoshop", b"8BIM", b"MPF\0", b"JFXX"),
    *(b"tEXt", b"iTXt", b"zTXt", b"tIME", b"ICC_PROFILE", b"XMP Data", b"NETSCAPE", b"seCr"),
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every input twice: with a face that is filled, and without one, so that its pixels pass unchanged."""
    root = tmp_path_factory.mktemp("metadata")
    (root / "in").mkdir()
    pictures = {"face": photo().crop((96, 0, 352, 256)), "cup": photo("coffee.png").resize((201, 133))}
    for what, picture in pictures.items():
        for name, make in INPUTS.items():
            (root / "in" / f"{what}-{name}").write_bytes(make(picture))
    where = [f"source.uri={root / 'in'}", f"sink.uri={root / 'out'}", "sink=files", "execute=local", "audit=none"]
    assert main("anonymize", [*where, "render=everything", "segment.faces.thorough=false"]) == 0
    return root


def outputs(out: Path) -> dict[str, list[Path]]:
    """Stem of the input -> the pictures made of it, below `rendered/`."""
    found: dict[str, list[Path]] = {}
    for path in sorted((out / "rendered").rglob("*.*")):
        found.setdefault(path.name.partition(".")[0], []).append(path.relative_to(out / "rendered"))
    return found


def test_every_pair_of_input_and_output_is_there(run: Path) -> None:
    made = outputs(run / "out")
    assert set(made) == {Path(f"{what}-{name}").stem for what in ("face", "cup") for name in INPUTS}
    for stem, paths in made.items():
        kinds = [path.parts[0] for path in paths]
        assert sorted(kinds) == sorted(KINDS), stem
    assert {(str(row["member"]).partition("-")[0], row["status"]) for row in rows(run / "out")} == {
        ("face", "written"),
        ("cup", "unchanged"),
    }


@pytest.mark.promise(PROMISE)
def test_no_planted_byte_is_in_any_output(run: Path, record_property: Callable[[str, object], None]) -> None:
    assert all(SECRET in path.read_bytes() for path in (run / "in").iterdir())
    found: dict[str, list[bytes]] = {}
    pictures = [path for paths in outputs(run / "out").values() for path in paths]
    for path in pictures:
        data = (run / "out/rendered" / path).read_bytes()
        if hits := [mark for mark in (SECRET, *MARKS) if mark in data]:
            found[str(path)] = hits
    record_property("tried", len(pictures))
    record_property("held", len(pictures) - len(found))
    assert len(pictures) == 2 * len(INPUTS) * len(KINDS)
    assert found == {}
    assert [name for name, data in blobs(run / "out") if SECRET in data] == []  # tables, previews, page, records


@pytest.mark.skipif(EXIFTOOL is None, reason=MISSING)
@pytest.mark.promise(PROMISE)
def test_exiftool_finds_only_facts_of_the_picture_in_any_output(
    run: Path, record_property: Callable[[str, object], None]
) -> None:
    names = sorted(path.relative_to(run / "in").as_posix() for path in (run / "in").iterdir())
    for name, answer in tags(run / "in", names).items():
        # It finds the planted metadata, but not in the gap of a BMP and the item names of an AVIF.
        assert beyond_the_picture(name, answer) or name.endswith((*BLIND, "avif-gain.avif")), name
    planted = {tag.partition(":")[0] for tag in tags(run / "in", ["face-jpeg.jpg", "face-mpo.jpg"])["face-jpeg.jpg"]}
    assert planted >= {"GPS", "IFD0", "IFD1", "ExifIFD", "IPTC", "XMP-dc", "JFXX"}
    pictures = [path.as_posix() for paths in outputs(run / "out").values() for path in paths]
    answers = tags(run / "out/rendered", pictures)
    odd = {name: more for name, answer in answers.items() if (more := beyond_the_picture(name, answer))}
    record_property("tried", len(pictures))
    record_property("held", len(pictures) - len(odd))
    assert set(answers) == set(pictures)
    assert odd == {}
