"""No original leaves an anonymize run: for every stage that breaks, every way to store a picture, every fill."""

import io
from collections.abc import Callable
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from jobs.entry import main
from pipeline import build, flow
from pipeline.image import rle
from pipeline.records import EncodedImage, ImageRef, Mask, Selected, Unit, UnitBatch
from tests.fakes import hanging_run
from tests.fakes.leak_scan import blobs, leaks, pictures
from tests.fakes.metadata_samples import SECRET, jpeg, photo, png, saved, tiff
from tests.fakes.planted_originals import COLOUR, MARKS, marked, plant
from tests.fakes.published_output import index

FACE = (195, 70, 255, 160)
"""left, top, right, bottom, upright: within the astronaut's face, and well inside of what is found."""

FAULTS = {
    "decode": ["raise_views", "raise_full", "no_views", "other_size_views", "other_size_full", "float_full"],
    "segment.faces": [
        *("raise", "no_answers", "too_many", "nan_pixels", "nan_score", "nan_box", "wrong_size", "other_image"),
        *("bad_rle", "short_rle"),
    ],
    "select": ["raise", "wrong_size", "bad_rle", "lying_area"],
    "fill": ["raise", "no_patches", "too_many", "not_finite", "wrong_shape", "empty_mask", "half_mask", "outside"],
    "render": ["raise"],
}
CLASS = {
    "decode": "BrokenDecode",
    "segment.faces": "BrokenFaces",
    "select": "BrokenSelect",
    "fill": "BrokenFill",
    "render": "BrokenRender",
    "sink": "BrokenSink",
}


def broken(part: str, how: str) -> list[str]:
    chosen = ["plugins=[tests]", f"{part}._target_=tests.fakes.faulty_stages.{CLASS[part]}"]
    return chosen if part == "render" else [*chosen, f"+{part}.how={how}"]


def anonymize(source: Path, out: Path, *overrides: str) -> int:
    return main("anonymize", [f"source.uri={source}", f"sink.uri={out}", "execute=local", "audit=none", *overrides])


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, tuple[bytes, ...]]:
    folder = tmp_path_factory.mktemp("originals")
    return folder, plant(folder)


@pytest.mark.filterwarnings("ignore:Image appears to be a malformed MPO")  # it is: a secret stands in its index
def test_the_scan_sees_what_is_planted(originals: tuple[Path, tuple[bytes, ...]]) -> None:
    folder, secrets = originals
    found = leaks(folder, secrets, COLOUR)
    for name in ("a.jpg", "b.png", "c.bmp"):
        assert sum(line.startswith(name) for line in found) >= 2
        assert any(line.startswith(name) and "pixels of" in line for line in found)


@pytest.mark.parametrize("sink", ["parquet", "files"])
def test_a_sound_run_publishes_three_pictures_and_nothing_of_the_originals(
    sink: str, originals: tuple[Path, tuple[bytes, ...]], tmp_path: Path
) -> None:
    folder, _ = originals
    outputs = "render.outputs=[filled,overlay,cutout]"
    assert anonymize(folder, tmp_path / "out", f"sink={sink}", outputs) == 0
    assert {row["status"] for row in index(tmp_path / "out").values()} == {"written"}
    names = [name for name, _ in pictures(tmp_path / "out")]
    assert sum(name.startswith("rendered/filled") for name in names) == 3
    assert any(name.startswith("_previews/") for name in names)
    assert any(name.startswith("report/") for name in names)
    assert leaks(tmp_path / "out", MARKS, COLOUR) == []


@pytest.mark.parametrize(("part", "how"), [(part, how) for part, ways in FAULTS.items() for how in ways])
@pytest.mark.promise("A stage that breaks, in whatever way, publishes nothing of an original")
def test_a_stage_that_breaks_publishes_nothing(
    part: str, how: str, originals: tuple[Path, tuple[bytes, ...]], tmp_path: Path
) -> None:
    folder, secrets = originals
    assert anonymize(folder, tmp_path / "out", *broken(part, how)) == 3
    rows = index(tmp_path / "out")
    assert {(row["status"], row["output"], row["output_sha256"]) for row in rows.values()} == {("rejected", "", "")}
    assert len(rows) == 3
    assert list(pictures(tmp_path / "out")) == []
    assert leaks(tmp_path / "out", secrets, COLOUR) == []


@pytest.mark.promise("A stage that breaks, in whatever way, publishes nothing of an original")
def test_a_detector_that_hangs_publishes_nothing(
    originals: tuple[Path, tuple[bytes, ...]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other stages: tests/chaos/test_hangs.py."""
    folder, secrets = originals
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.jpg").write_bytes((folder / "a.jpg").read_bytes())
    hanging_run.check("segment.faces", tmp_path / "in", tmp_path / "out", secrets, COLOUR, monkeypatch)


@pytest.mark.promise("A stage that breaks, in whatever way, publishes nothing of an original")
def test_a_fill_that_gives_back_what_it_sees_has_seen_nothing(
    originals: tuple[Path, tuple[bytes, ...]], tmp_path: Path
) -> None:
    folder, _ = originals
    assert anonymize(folder, tmp_path / "out", *broken("fill", "echo")) == 0
    assert len(list(pictures(tmp_path / "out"))) >= 3
    assert leaks(tmp_path / "out", MARKS, COLOUR) == []


@pytest.mark.parametrize("how", ["raise_add", "raise_finish"])
@pytest.mark.promise("A stage that breaks, in whatever way, publishes nothing of an original")
def test_a_sink_that_breaks_stops_the_run_and_leaves_nothing(
    how: str, originals: tuple[Path, tuple[bytes, ...]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, secrets = originals
    assert anonymize(folder, tmp_path / "out", *broken("sink", how)) == 1
    assert "BrokeOnPurpose" in capsys.readouterr().err
    assert not (tmp_path / "out/_run/SUCCESS.json").exists()
    assert list(pictures(tmp_path / "out")) == []
    assert leaks(tmp_path / "out", secrets, COLOUR) == []


# --- however the picture is stored -----------------------------------------------------------------------------

TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
"""Orientation -> what turns the upright picture into the stored one."""


def deep(array: np.ndarray, suffix: str) -> bytes:
    """16 bits a channel, the low byte as a scanner's noise. array: RGB or grey, 8 bits."""
    noise = np.random.default_rng(5).integers(0, 256, array.shape).astype(np.uint16)
    ok, data = cv2.imencode(suffix, (array.astype(np.uint16) * 256 + noise)[..., ::-1] if array.ndim == 3 else array)
    assert ok
    return data.tobytes()


def variants() -> dict[str, bytes]:
    """One face stored in many ways. `plain.png` is the reference of the others."""
    # A wider picture than high, so that a turn that is not undone shows in its size.
    upright = photo().crop((0, 0, 512, 400))
    array = np.array(upright)
    grey = upright.convert("L")
    grey16 = saved(Image.fromarray(np.asarray(grey).astype(np.uint16) * 257), "PNG")
    half = np.dstack([array, np.full(array.shape[:2], 200, np.uint8)])
    seen = half.copy()
    seen[..., 3] = 255
    seen[250:, :200, 3] = 0
    files = {
        "plain.png": saved(upright, "PNG"),
        "rgb16.png": deep(array, ".png"),
        "rgb16.tif": deep(array, ".tiff"),
        "grey.png": saved(grey, "PNG"),
        "grey.jpg": saved(grey, "JPEG", quality=92),
        "grey16.png": grey16,
        "cmyk.jpg": saved(upright.convert("CMYK"), "JPEG", quality=92),
        "cmyk.tif": saved(upright.convert("CMYK"), "TIFF"),
        "alpha200.png": saved(Image.fromarray(half), "PNG"),
        "alpha-hole.webp": saved(Image.fromarray(seen), "WEBP", lossless=True, exact=True),
        "palette.png": saved(upright.quantize(256), "PNG"),
    }
    for turn in range(1, 9):
        stored = upright.transpose(TURNS[turn]) if turn > 1 else upright
        files[f"turn{turn}.jpg"] = jpeg(stored, orientation=turn)
        files[f"turn{turn}.png"] = png(stored, orientation=turn)
    files["turn6.tif"] = tiff_turned(upright, 6)
    return files


def tiff_turned(upright: Image.Image, turn: int) -> bytes:
    return saved(upright.transpose(TURNS[turn]), "TIFF", tiffinfo={274: turn})


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run over every variant, and one whose face is hidden under alpha 0."""
    root = tmp_path_factory.mktemp("stored")
    (root / "in").mkdir()
    for name, data in variants().items():
        (root / "in" / name).write_bytes(data)
    hidden = np.dstack([np.array(marked()), np.full((512, 512), 255, np.uint8)])
    hidden[40:220, 140:310, 3] = 0
    (root / "in/hidden.png").write_bytes(saved(Image.fromarray(hidden), "PNG"))
    (root / "in/hidden.webp").write_bytes(saved(Image.fromarray(hidden), "WEBP", lossless=True, exact=True))
    assert anonymize(root / "in", root / "out", "sink=files") == 0
    return root


def face_of(array: np.ndarray) -> np.ndarray:
    """Grey pixels of the face, centred. array: HW or HWC, upright."""
    left, top, right, bottom = FACE
    grey = array if array.ndim == 2 else array[..., :3].mean(axis=2)
    part = grey[top:bottom, left:right].astype(float)
    return np.asarray(part - part.mean())


@pytest.mark.parametrize("name", list(variants()))
@pytest.mark.promise("A face is found and removed however it is stored: 8 orientations, 16 bits, CMYK, behind alpha")
def test_a_face_is_found_and_removed_however_it_is_stored(name: str, stored: Path) -> None:
    rows = index(stored / "out")
    row, plain = rows[name], rows["plain.png"]
    assert row["status"] == "written"
    assert (row["width"], row["height"]) == (512, 400)
    # Colours sway what else is taken for a face.
    assert row["filled_share"] == pytest.approx(plain["filled_share"], rel=0.2)
    data = (stored / "out" / str(row["output"])).read_bytes()
    with Image.open(io.BytesIO(data)) as image:
        assert image.getexif().get(274, 1) == 1
        assert "A" not in image.getbands()
    shown = opened(data)
    assert shown.shape == (400, 512, 3)
    original, left = face_of(np.array(photo())), face_of(shown)
    assert original.std() > 25
    assert left.std() < 3  # one colour, and what an encoder makes of it
    outside = np.abs(shown[:, 330:].astype(int).mean(axis=2) - np.array(photo())[:400, 330:].astype(int).mean(axis=2))
    assert np.median(outside) < 60  # the same picture beside it, up to alpha on white and CMYK


@pytest.mark.parametrize("name", ["hidden.png", "hidden.webp"])
@pytest.mark.promise("A face is found and removed however it is stored: 8 orientations, 16 bits, CMYK, behind alpha")
def test_a_face_hidden_under_alpha_is_not_published_with_it(name: str, stored: Path) -> None:
    row = index(stored / "out")[name]
    with Image.open(stored / "in" / name) as image:
        assert (np.asarray(image.convert("RGBA"))[90, 214, :3] == COLOUR).all()  # still in the file
    with Image.open(stored / "out" / str(row["output"])) as image:
        assert "A" not in image.getbands()
        inside = np.asarray(image.convert("RGB"))[45:215, 145:305].astype(int)
    assert (np.abs(inside - COLOUR).max(axis=2) > 40).all()
    assert face_of(np.asarray(Image.open(stored / "out" / str(row["output"])).convert("RGB"))).std() < 3


@pytest.mark.promise("Published bytes carry no metadata of the original, of any kind")
def test_no_metadata_of_any_variant_is_published(stored: Path) -> None:
    assert any(SECRET in data for _, data in blobs(stored / "in"))
    assert [name for name, data in blobs(stored / "out") if SECRET in data] == []


# --- inside and outside of the region --------------------------------------------------------------------------


def region_of(data: bytes, *overrides: str) -> Mask:
    """The region that the run fills, HW bool."""
    config = build.compose("anonymize", ["source.uri=a", "sink.uri=b", "execute=local", *overrides])
    worker = build.build(config).flow.load("cpu", 1)
    unit = Unit(unit_id="u", shard="s", uri="s", etag="", start=0, stop=1, last=True)
    ref = ImageRef(image_id="a", key="a", member="a")
    batch = UnitBatch(unit=unit, items=(EncodedImage(ref=ref, data=data),), seconds={})
    (item,) = flow.select(worker, flow.segment(worker, flow.decode(worker, batch))).items
    assert isinstance(item, Selected)
    return rle.decode(item.region.rle, item.region.height, item.region.width)


def published(name: str, data: bytes, folder: Path, *overrides: str) -> bytes:
    (folder / "in").mkdir()
    (folder / "in" / name).write_bytes(data)
    assert anonymize(folder / "in", folder / "out", "sink=files", *overrides) == 0
    return (folder / "out/rendered/filled" / name).read_bytes()


def rgb(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.tif"])
@pytest.mark.promise("Outside the region pixels stay: equal if lossless, one re-encode if JPEG")
def test_outside_the_region_a_lossless_picture_is_untouched(name: str, tmp_path: Path) -> None:
    encode: dict[str, Callable[[Image.Image], bytes]] = {
        "a.png": png,
        "a.tif": tiff,
        "a.bmp": partial(saved, fmt="BMP"),
    }
    data = encode[name](photo())
    before, after, region = rgb(data), rgb(published(name, data, tmp_path)), region_of(data)
    assert 0.01 < region.mean() < 0.2
    np.testing.assert_array_equal(before[~region], after[~region])
    assert (before[region] != after[region]).any(axis=1).mean() > 0.99


@pytest.mark.parametrize("options", [{"quality": 90, "subsampling": 0}, {"quality": 75, "subsampling": 2}])
@pytest.mark.promise("Outside the region pixels stay: equal if lossless, one re-encode if JPEG")
def test_outside_the_region_a_jpeg_is_the_same_picture_encoded_once_more(
    options: dict[str, int], tmp_path: Path
) -> None:
    data = saved(photo(), "JPEG", **options)
    before, after, region = rgb(data), rgb(published("a.jpg", data, tmp_path)), region_of(data)
    once = rgb(saved(Image.fromarray(before), "JPEG", **options))
    # A block (16 x 16 with 4:2:0) that the region does not touch is encoded alone; its neighbour's colours reach over
    # by a pixel where they are enlarged again.
    blocks = np.asarray(region.reshape(32, 16, 32, 16).any(axis=(1, 3)))
    touched = cv2.dilate(blocks.astype(np.uint8), np.ones((3, 3)))
    far = ~touched.astype(bool).repeat(16, 0).repeat(16, 1)
    assert far.mean() > 0.7
    np.testing.assert_array_equal(after[far], once[far])
    near = ~region & ~far
    bound = np.abs(before.astype(int) - once.astype(int)).max()
    assert np.quantile(np.abs(after.astype(int) - before.astype(int))[near], 0.9) <= bound


TURNED = tuple(f"turn{turn}.png" for turn in range(1, 9))


def opened(data: bytes) -> np.ndarray:
    """A stored picture as it is meant to be seen, HWC RGB: read with OpenCV or Pillow, without our decoder."""
    deep16 = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION)
    if deep16 is not None and deep16.dtype == np.uint16:
        eight = deep16 // 256 if deep16.ndim == 3 else np.round(deep16 / 257)
        return (eight[..., ::-1] if deep16.ndim == 3 else np.dstack([eight] * 3)).astype(np.uint8)
    with Image.open(io.BytesIO(data)) as image:
        upright = ImageOps.exif_transpose(image)
        if "A" not in upright.getbands():
            return np.asarray(upright.convert("RGB"))
        white = Image.new("RGBA", upright.size, "white")
        return np.asarray(Image.alpha_composite(white, upright.convert("RGBA")).convert("RGB"))


@pytest.mark.promise("Outside the region pixels stay: equal if lossless, one re-encode if JPEG")
@pytest.mark.parametrize(
    "name", [*TURNED, "turn6.tif", "rgb16.png", "rgb16.tif", "grey16.png", "cmyk.tif", "alpha200.png", "palette.png"]
)
def test_outside_the_region_pixels_stay_however_they_are_stored(name: str, stored: Path) -> None:
    data = (stored / "in" / name).read_bytes()
    before, region = opened(data), region_of(data)
    after = opened((stored / "out" / str(index(stored / "out")[name]["output"])).read_bytes())
    assert before.shape == after.shape
    assert region.mean() < 0.4
    apart = np.abs(before.astype(int) - after.astype(int)).max(axis=2)
    rounding = 1 if "16" in name or name.startswith("alpha") else 0  # of 16 bits to 8, of a blend with white
    assert apart[~region].max() <= rounding
    assert np.median(apart[region]) > 3 * rounding


WHOLE = ("turn1.png", "turn6.png", "rgb16.png", "cmyk.tif", "alpha200.png", "grey16.png")


@pytest.mark.promise("Inside the region no pixel of the original survives a fill")
@pytest.mark.parametrize(("fill", "names"), [("solid", WHOLE), ("diffuse", WHOLE), ("exemplar", WHOLE[1:4])])
def test_inside_the_region_nothing_of_the_original_is_left(fill: str, names: tuple[str, ...], tmp_path: Path) -> None:
    """Weak noise lies over the face inside the region only: a fill that uses any of it correlates with it."""
    face = np.array(photo().crop((96, 0, 352, 256)).resize((192, 192))).astype(int)
    inner = np.zeros((192, 192), bool)
    inner[54:118, 76:118] = True  # FACE
    noise = np.random.default_rng(7).choice([-8, 8], inner.shape)
    noisy = np.clip(face + (noise * inner)[..., None], 0, 255).astype(np.uint8)
    upright = Image.fromarray(noisy)
    alpha = np.dstack([noisy, np.full(inner.shape, 200, np.uint8)])
    made = {
        "turn1.png": lambda: png(upright),
        "turn6.png": lambda: png(upright.transpose(TURNS[6]), orientation=6),
        "rgb16.png": lambda: deep(noisy, ".png"),
        "cmyk.tif": lambda: saved(upright.convert("CMYK"), "TIFF"),
        "alpha200.png": lambda: saved(Image.fromarray(alpha), "PNG"),
        "grey16.png": lambda: saved(Image.fromarray(np.asarray(upright.convert("L")).astype(np.uint16) * 257), "PNG"),
    }
    (tmp_path / "in").mkdir()
    for name in names:
        (tmp_path / "in" / name).write_bytes(made[name]())
    assert anonymize(tmp_path / "in", tmp_path / "out", "sink=files", f"fill={fill}") == 0
    for name in names:
        data = (tmp_path / "in" / name).read_bytes()
        before, after = opened(data), opened((tmp_path / "out/rendered/filled" / name).read_bytes())
        region = region_of(data)
        assert (region | ~inner).all()  # all of the noise is in the region that this run fills
        assert correlation(before, noise, inner) > 0.3
        assert abs(correlation(after, noise, inner)) < 4 / np.sqrt(inner.sum()), name
        alike = (after[region] == before[region]).all(axis=1).mean()
        assert alike < (0.1 if "grey" in name else 0.02), name  # one channel is alike by chance more often than three


def correlation(array: np.ndarray, noise: np.ndarray, where: np.ndarray) -> float:
    """Correlation of the noise with the fine detail of a picture."""
    grey = array.astype(np.float32).mean(axis=2)
    fine = (grey - cv2.blur(grey, (5, 5)))[where]
    spread = fine.std() * noise[where].std()
    return float(((fine - fine.mean()) * noise[where]).mean() / spread) if spread else 0.0
