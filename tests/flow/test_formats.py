"""Whole runs over the formats that cameras and fields write, and over files of several frames."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from tests.fakes.format_samples import dicom, heic, jxl, nifti, saved
from tests.fakes.job_run import run
from tests.fakes.published_output import published, rows, totals

RED = ["segment=[faces]", "segment.faces._target_=tests.fakes.red_segmenter.Red", "plugins=[tests]"]
QUICK = [
    *RED,
    "execute=local",
    "audit=none",
    "fill=solid",
    "select.dilate_px=0",
    "select.dilate_share=0",
    "max_reject_share=1",
]


def picture(place: int, *, red: bool = True) -> NDArray[np.uint8]:
    """Grey steps, with a red square at `place`."""
    pixels = np.full((48, 80, 3), 90 + 10 * place, np.uint8)
    if red:
        pixels[8:24, 8 + 8 * place : 24 + 8 * place] = (250, 0, 0)
    return pixels


def images() -> list[Image.Image]:
    return [Image.fromarray(picture(place, red=place != 1)) for place in range(3)]


def film(kind: str, **options: object) -> bytes:
    first, *others = images()
    return saved(first, kind, save_all=True, append_images=others, **options)


def write(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir()
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


def shown(path: Path) -> NDArray[np.uint8]:
    return np.asarray(Image.open(path).convert("RGB"))


STILLS = {
    "phone.heic": (heic(picture(0)), ".jpg"),
    "clear.heif": (heic(np.dstack([picture(0), np.full((48, 80), 200, np.uint8)])), ".jpg"),
    "new.jxl": (jxl(picture(0)), ".png"),
    "old.jp2": (saved(Image.fromarray(picture(0)), "JPEG2000"), ".png"),
    "scan.dcm": (dicom(picture(0)), ".png"),
    "deep.tif": (saved(Image.fromarray(picture(0)), "TIFF"), ".tif"),
}


def test_each_format_is_filled_and_published_in_one_that_everybody_reads(tmp_path: Path) -> None:
    source = write(tmp_path / "in", {name: data for name, (data, _) in STILLS.items()})
    assert run("anonymize", source, tmp_path / "out", *QUICK, "sink=files", "render=filled").code == 0
    assert {row["member"]: row["status"] for row in rows(tmp_path / "out")} == dict.fromkeys(STILLS, "written")
    for row in rows(tmp_path / "out"):
        suffix = STILLS[str(row["member"])][1]
        assert str(row["output"]).endswith(suffix)
        pixels, before = shown(tmp_path / "out" / str(row["output"])).astype(int), picture(0).astype(int)
        inside = before[..., 0] == 250
        assert np.abs(pixels[inside] - (250, 0, 0)).max(axis=1).min() > 100, row["member"]
        if suffix != ".jpg":
            assert np.array_equal(pixels[~inside], before[~inside]), row["member"]


def test_an_image_without_a_region_is_encoded_anew_too(tmp_path: Path) -> None:
    plain = picture(1, red=False)
    made = {"a.heic": heic(plain), "b.jxl": jxl(plain), "c.jp2": saved(Image.fromarray(plain), "JPEG2000")}
    clear = np.dstack([plain, np.full((48, 80), 200, np.uint8)])
    source = write(tmp_path / "in", made | {"d.dcm": dicom(plain), "e.heif": heic(clear)})
    assert run("clean", source, tmp_path / "out", *QUICK, "sink=files", "select.labels=[face]").code == 0
    for row in rows(tmp_path / "out"):
        assert row["status"] == "unchanged"
        path = tmp_path / "out" / str(row["output"])
        assert path.suffix == (".jpg" if row["member"] == "a.heic" else ".png")
        assert np.abs(shown(path).astype(int) - plain).max() <= (2 if path.suffix == ".jpg" else 0)
        assert Image.open(path).mode == ("RGBA" if row["member"] == "e.heif" else "RGB")


FILMS = {
    "film.gif": (film("GIF"), ".png"),
    "still.png": (film("PNG"), ".png"),
    "web.webp": (film("WEBP", lossless=True), ".webp"),
    "av.avif": (film("AVIF", quality=95), ".avif"),
    "pages.tif": (film("TIFF"), ".tif"),
    "burst.heic": (heic(*images()), ".jpg"),
    "cine.dcm": (dicom(np.stack([np.asarray(image) for image in images()]), frames=3), ".png"),
}


@pytest.mark.parametrize("sink", ["files", "tar", "parquet"])
def test_each_frame_is_a_row_with_an_output_of_its_own(sink: str, tmp_path: Path) -> None:
    source = write(tmp_path / "in", {name: data for name, (data, _) in FILMS.items()})
    assert run("anonymize", source, tmp_path / "out", *QUICK, f"sink={sink}", "decode.frames=all").code == 0
    found = {str(row["member"]): row for row in rows(tmp_path / "out")}
    assert sorted(found) == sorted(f"{name}#frame={n}" for name in FILMS for n in (1, 2, 3))
    assert totals(str(tmp_path / "out")) == {"images": 21, "written": 14, "unchanged": 7, "rejected": 0}
    places = {(str(row["output"]), str(row["output_member"])) for row in found.values()}
    assert len(places) == len(found)
    assert len({row["image_id"] for row in found.values()}) == len(found)
    for name, row in found.items():
        place = int(name[-1]) - 1
        assert row["status"] == ("unchanged" if place == 1 else "written")
        if sink != "files":
            continue
        path = tmp_path / "out" / str(row["output"])
        assert path.suffix == FILMS[name.partition("#")[0]][1]
        outside = np.asarray(images()[place])[..., 0] != 250
        near = 8 if path.suffix in (".jpg", ".avif") else 0
        assert np.abs(shown(path).astype(int) - (90 + 10 * place))[outside].mean() <= near


@pytest.mark.parametrize("frames", ["first", "reject"])
def test_the_first_frame_or_none(frames: str, tmp_path: Path) -> None:
    source = write(tmp_path / "in", {name: data for name, (data, _) in FILMS.items()})
    run("anonymize", source, tmp_path / "out", *QUICK, "sink=files", f"decode.frames={frames}")
    found = rows(tmp_path / "out")
    assert sorted(str(row["member"]) for row in found) == sorted(FILMS)
    wanted = ("written", "") if frames == "first" else ("rejected", "many_frames")
    assert {(row["status"], row["reason"]) for row in found} == {wanted}


def test_a_volume_is_its_slices(tmp_path: Path) -> None:
    volume = np.random.default_rng(0).integers(0, 900, (40, 30, 4)).astype(np.int16)
    source = write(tmp_path / "in", {"brain.nii": nifti(volume)})
    assert run("annotate", source, tmp_path / "out", *RED, "execute=local", "decode.frames=all").code == 0
    assert [(row["member"], row["height"], row["width"]) for row in rows(tmp_path / "out")] == [
        (f"brain.nii#frame={n}", 30, 40) for n in (1, 2, 3, 4)
    ]


def shard(path: Path) -> None:
    """Films among stills, one still under the name of a frame, and a key that comes again."""
    members = [
        ("a.gif", FILMS["film.gif"][0]),
        ("a.txt", b"caption"),
        ("a#frame=2.png", saved(images()[0], "PNG")),
        ("b.png", saved(images()[1], "PNG")),
        ("c.tif", FILMS["pages.tif"][0]),
        ("d.png", saved(images()[2], "PNG")),
        ("a.jpg", saved(images()[2], "JPEG")),
    ]
    with tarfile.open(path, "w") as archive:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))


@pytest.mark.parametrize("sink", ["files", "tar"])
def test_a_resume_gives_the_same_rows_and_bytes(sink: str, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    shard(tmp_path / "in/s.tar")
    options = [*QUICK, f"sink={sink}", "decode.frames=all", "source.unit_images=1"]
    whole = tmp_path / "whole"
    run("anonymize", tmp_path / "in", whole, *options)
    records = sorted((whole / "_commit").iterdir())
    assert len(records) >= 5
    expected = published(str(whole))
    for record in records:
        out = tmp_path / f"without-{record.stem}"
        run("anonymize", tmp_path / "in", out, *options)
        assert published(str(out)) == expected
        (out / "_commit" / record.name).unlink()
        for done in (out / "_run").glob("SUCCESS*"):
            done.unlink()
        run("anonymize", tmp_path / "in", out, *options)
        assert published(str(out)) == expected
    found = [str(row["member"]) for row in rows(whole)]
    assert len(found) == len(set(found))
    assert len({row["image_id"] for row in rows(whole)}) == len(found)
    written = [str(row["output"]) + str(row["output_member"]) for row in rows(whole) if row["output"]]
    assert len(set(written)) == len(written)


def test_frames_that_run_alone_give_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = {name: FILMS[name][0] for name in ("film.gif", "burst.heic")}
    source = write(tmp_path / "in", chosen | {"cut.gif": FILMS["film.gif"][0][:-60]})
    options = [*QUICK, "sink=files", "decode.frames=all"]
    run("anonymize", source, tmp_path / "together", *options)
    monkeypatch.setattr("pipeline.execute.isolate._TRUSTED_ATTEMPTS", 0)
    run("anonymize", source, tmp_path / "alone", *options)
    assert published(str(tmp_path / "alone")) == published(str(tmp_path / "together"))
    assert len(rows(tmp_path / "alone")) >= 7


GEO: list[tuple[int, str, int, object, bool]] = [
    (33550, "d", 3, (10.0, 10.0, 0.0), True),
    (33922, "d", 6, (0.0, 0.0, 0.0, 440720.0, 3751320.0, 0.0), True),
    (34735, "H", 16, (1, 1, 0, 3, 1024, 0, 1, 1, 1025, 0, 1, 1, 1026, 34737, 7, 0), True),
    (34737, "s", 0, "WGS 84|", True),
]
"""Code, type, count and value of the tags of a georeference, as tifffile takes them."""


def geotiff(geo: list[tuple[int, str, int, object, bool]]) -> bytes:
    out = io.BytesIO()
    tifffile.imwrite(out, picture(0), photometric="rgb", extratags=[*geo, (65000, "s", 0, "PLANTED-SECRET", True)])
    return out.getvalue()


def geo_of(path: Path) -> dict[int, object]:
    with tifffile.TiffFile(path) as tiff:
        tags = {tag.code: tag.value for tag in tiff.pages.first.tags.values()}
    return {code: value for code, value in tags.items() if code > 30000}


def test_the_label_map_of_a_geotiff_keeps_its_georeference(tmp_path: Path) -> None:
    broken = [(34735, "d", 3, (1.0, 1.0, 0.0), True), *GEO[:2]]
    source = write(tmp_path / "in", {"tile.tif": geotiff(GEO), "odd.tif": geotiff(broken), "plain.tif": geotiff([])})
    made = [*RED, "execute=local", "audit=none", "sink=files", "render=labels", "select.labels=[face]", "fill=none"]
    assert run("clean", source, tmp_path / "out", *made).code == 0
    labels = {path.name.partition(".")[0]: path for path in (tmp_path / "out/rendered/labels").iterdir()}
    assert {name: path.suffix for name, path in labels.items()} == {"tile": ".tif", "odd": ".png", "plain": ".png"}
    assert geo_of(labels["tile"]) == {code: value for code, _, _, value, _ in GEO}
    red = picture(0)[..., 0] == 250
    for path in labels.values():
        assert np.array_equal(np.asarray(Image.open(path)) > 0, red)


def test_a_private_run_keeps_no_place(tmp_path: Path) -> None:
    source = write(tmp_path / "in", {"tile.tif": geotiff(GEO)})
    assert run("anonymize", source, tmp_path / "out", *QUICK, "sink=files", "render=everything").code == 0
    paths = [path for path in (tmp_path / "out/rendered").rglob("*.*") if path.is_file()]
    assert len(paths) == 4
    assert [path for path in paths if path.suffix == ".tif" and geo_of(path)] == []
