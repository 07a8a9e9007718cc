"""Samples of several images, and names with dots, through whole runs: each image has its row and its own output."""

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tests.fakes.job_run import run
from tests.fakes.leak_scan import blobs, pictures
from tests.fakes.metadata_samples import saved
from tests.fakes.published_output import rows
from tests.fakes.tar_samples import tar_of

EVERY = "Every member that is an image is looked at: no second image of a sample is published unseen, and none is lost"
RED = (
    "segment=[faces]",
    "select=faces",
    "execute=local",
    "plugins=[tests]",
    "audit=none",
    "fill=solid",
    "segment.faces._target_=tests.fakes.red_segmenter.Red",
)


def picture(number: int) -> bytes:
    """Grey noise with a red square, which stands for a face; another picture for each number."""
    pixels = np.random.default_rng(number).integers(90, 160, (48, 64, 1), np.uint8).repeat(3, axis=2)
    pixels[10:30, 20 + number : 40 + number] = (250, 20, 20)
    return saved(Image.fromarray(pixels), "PNG")


IMAGES = ["1.left.png", "1.right.png", "frame_0.25.png", "frame_0.50.png", "2.png", "3.img"]
MEMBERS = {name: picture(number) for number, name in enumerate(IMAGES)}


def packed() -> bytes:
    texts = {"1.json": b'{"a": 1}', "frame_0.50.txt": b"the second frame", "2.txt": b"two"}
    order = [*IMAGES[:2], "1.json", *IMAGES[2:4], "frame_0.50.txt", "2.png", "2.txt", "3.img"]
    return tar_of([(name, (MEMBERS | texts)[name]) for name in order])


def red(pixels: np.ndarray) -> int:
    """Number of pixels that would be found again."""
    seen = pixels[..., :3].astype(int)
    return int((seen[..., 0] - seen[..., 1:].max(axis=2) > 60).sum())


def places(out: Path) -> dict[str, tuple[str, str]]:
    """Member -> where it went: object and name inside it. No two are the same."""
    found = {row["member"]: (row["output"], row["output_member"]) for row in rows(out)}
    assert len(set(found.values())) == len(found)
    return found


def content(out: Path, output: str, member: str) -> bytes:
    path = out / output
    if output.endswith(".tar"):
        with tarfile.open(path) as tar:
            return tar.extractfile(member).read()  # type: ignore[union-attr]
    if output.endswith(".parquet"):
        (row,) = [row for row in pq.read_table(path).to_pylist() if row["key"] == member]
        return bytes(row["image"]["bytes"])
    return path.read_bytes()


@pytest.mark.promise(EVERY)
@pytest.mark.parametrize("sink", ["tar", "files", "parquet"])
def test_anonymize_fills_every_image_of_a_sample(sink: str, tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(packed())
    out = tmp_path / "out"
    ended = run("anonymize", tmp_path / "a.tar", out, *RED, f"sink={sink}")
    assert ended.code == 0
    found = rows(out)
    assert [row["member"] for row in found] == IMAGES
    assert {row["status"] for row in found} == {"written"}
    assert len({row["key"] for row in found}) == len(IMAGES)
    for member, (output, inside) in places(out).items():
        with Image.open(io.BytesIO(content(out, output, inside))) as image:
            assert red(np.asarray(image.convert("RGB"))) == 0
            outside = np.asarray(image.convert("RGB"))[:8]
        np.testing.assert_array_equal(outside, np.asarray(Image.open(io.BytesIO(MEMBERS[member])))[:8])
    # Nowhere in the output, under any name, is an original or a face.
    assert not [name for name, data in blobs(out) if data in MEMBERS.values()]
    filled = [(name, red(pixels)) for name, pixels in pictures(out) if name.startswith("rendered/")]
    assert len(filled) == len(IMAGES)
    assert all(left == 0 for _, left in filled)
    assert not [name for name, data in blobs(out / "rendered") if data in (b'{"a": 1}', b"the second frame", b"two")]
    assert "2 of 4 hold several images (25.png 1, 50.png 1, left.png 1, right.png 1)" in ended.out


@pytest.mark.promise(EVERY)
def test_clean_keeps_every_name_and_lays_texts_beside_their_images(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(packed())
    for sink in ("tar", "files"):
        ended = run("clean", tmp_path / "a.tar", tmp_path / sink, *RED, f"sink={sink}")
        assert ended.code == 0
        names = [*IMAGES[:-1], "1.json", "2.txt", "3.img.png", "frame_0.50.txt"]
        if sink == "files":
            root = tmp_path / "files/rendered/filled/a.tar"
            assert sorted(path.name for path in root.iterdir()) == sorted(names)
        else:
            (path,) = (tmp_path / "tar/rendered/filled").iterdir()
            with tarfile.open(path) as tar:
                assert sorted(tar.getnames()) == sorted(names)


@pytest.mark.promise(EVERY)
def test_a_field_that_is_named_travels_unseen_in_clean_and_never_in_anonymize(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(
        tar_of([("1.rgb.png", picture(1)), ("1.depth.png", picture(2)), ("1.txt", b"a text")])
    )
    named = ("source.sidecar_members=[depth.png]", "sink=files")
    for keep, texts in ((False, []), (True, ["1.txt"])):
        out = tmp_path / f"anonymized {keep}"
        more = (*named, f"render.keep_sidecars={json.dumps(keep)}")
        assert run("anonymize", tmp_path / "a.tar", out, *RED, *more).code == 0
        assert [row["member"] for row in rows(out)] == ["1.rgb.png"]
        folder = out / "rendered/filled/a.tar"
        assert sorted(path.name for path in folder.iterdir()) == sorted(["1.rgb.png", *texts])
        assert not [name for name, data in blobs(out) if data == picture(2)]
    assert run("clean", tmp_path / "a.tar", tmp_path / "cleaned", *named, *RED).code == 0
    assert (tmp_path / "cleaned/rendered/filled/a.tar/1.depth.png").read_bytes() == picture(2)


@pytest.mark.parametrize("sink", ["tar", "files", "parquet"])
def test_a_caption_keeps_the_name_of_its_image(sink: str, tmp_path: Path) -> None:
    stems = ["plain", "v1.0.bird", "v1.0.cat", "v1.0.dog"]
    (tmp_path / "in").mkdir()
    for number, stem in enumerate(stems):
        (tmp_path / "in" / f"{stem}.png").write_bytes(picture(number))
        (tmp_path / "in" / f"{stem}.txt").write_text(f"a photo of {stem}")
    out = tmp_path / "out"
    more = ("source.unit_images=2", f"sink={sink}")
    assert run("clean", tmp_path / "in", out, *more, *RED).code == 0
    assert [row["key"] for row in rows(out)] == stems
    for member, (output, inside) in places(out).items():
        stem = member.removesuffix(".png")
        if sink == "files":
            assert output == f"rendered/filled/{member}"
            assert (out / f"rendered/filled/{stem}.txt").read_text() == f"a photo of {stem}"
        elif sink == "tar":
            key = inside.partition(".")[0]  # as a tar reader cuts it
            with tarfile.open(out / output) as tar:
                beside = [name for name in tar.getnames() if name.partition(".")[0] == key]
            assert beside == [f"{key}.png", f"{key}.txt"]
            assert content(out, output, f"{key}.txt") == f"a photo of {stem}".encode()
        else:
            (row,) = [row for row in pq.read_table(out / output).to_pylist() if row["key"] == inside]
            assert inside == stem
            assert row["sidecars"] == [{"name": "txt", "data": f"a photo of {stem}".encode()}]
            assert row["image"]["path"] == member
