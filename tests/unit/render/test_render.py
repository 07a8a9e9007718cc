from __future__ import annotations

import io
import math
from collections.abc import Callable
from functools import cache

import cv2
import numpy as np
import pyarrow as pa
import pytest
from PIL import Image, ImageCms, ImageOps

from pipeline.errors import ConfigError, ImageError
from pipeline.image.colours import colour_of
from pipeline.image.decode import Decode
from pipeline.image.header import Header, open_image, read_header
from pipeline.records import (
    EncodedImage,
    Filled,
    ImageRef,
    Mask,
    Patch,
    Region,
    Sidecar,
)
from pipeline.render.render import Render, paste
from pipeline.render.seam import FLOOR
from tests.fakes import metadata_samples
from tests.fakes.filled_images import FILL, disc, full, item, one, rendered, segment_of, swapped_profile
from tests.fakes.specs import made, preset

NAMES = sorted(metadata_samples.every())
LEAK = np.array((0, 0, 255), np.uint8)
"""Painted over the region before encoding: none of it may come out."""


@cache
def corpus() -> dict[str, bytes]:
    return metadata_samples.every()


# --- the filled image ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_no_metadata_in_what_is_written(name: str) -> None:
    data = corpus()[name]
    height, width = read_header(data).upright
    result = rendered(item(data, disc(height, width)), outputs=("filled", "overlay", "cutout", "labels"), preview=True)
    assert result.status == "written"
    assert [file.kind for file in result.files] == ["filled", "overlay", "cutout", "labels"]
    preview = result.previews[0]
    for written in (*(file.data for file in result.files), preview.before, preview.mask, preview.after):
        assert metadata_samples.SECRET not in written
        image = open_image(written)
        assert not set(image.info) & {"exif", "xmp", "comment", "photoshop", "icc_profile_name", "Author", "Comment"}
        assert not image.getexif() or image.format == "TIFF"
        image.load()


LOSSY = ("jpeg", "mpo", "avif", "webp-simple", "webp-alpha")


@pytest.mark.parametrize("name", [name for name in NAMES if not name.startswith(LOSSY) and name != "webp"])
def test_outside_the_region_a_lossless_image_stays_the_same(name: str) -> None:
    data = corpus()[name]
    mask = disc(*read_header(data).upright)
    result = one(rendered(item(data, mask)))
    seen, before = full(result), full(data)
    np.testing.assert_array_equal(seen[~mask], before[~mask])
    assert (seen[mask] == FILL).all()
    if "alpha" in name:
        rgba = [np.asarray(open_image(d).convert("RGBA")) for d in (data, result)]
        np.testing.assert_array_equal(rgba[0][~mask], rgba[1][~mask])
        assert (rgba[1][mask] == (*FILL, 255)).all()


@pytest.mark.parametrize(
    ("name", "fmt", "suffix", "mode"),
    [
        ("jpeg", "JPEG", ".jpg", "RGB"),
        ("mpo", "JPEG", ".jpg", "RGB"),
        ("jpeg-cmyk", "JPEG", ".jpg", "RGB"),
        ("png-palette", "PNG", ".png", "RGB"),
        ("png-alpha", "PNG", ".png", "RGBA"),
        ("webp-lossless", "WEBP", ".webp", "RGB"),
        ("gif", "PNG", ".png", "RGB"),
        ("bmp", "BMP", ".bmp", "RGB"),
        ("tiff-cmyk", "TIFF", ".tif", "RGB"),
        ("avif-alpha", "AVIF", ".avif", "RGBA"),
    ],
)
def test_the_format_of_the_source_is_kept_where_it_can_hold_the_result(
    name: str, fmt: str, suffix: str, mode: str
) -> None:
    data = corpus()[name]
    (file,) = rendered(item(data, disc(*read_header(data).upright))).files
    header = read_header(file.data)
    assert (header.format, file.suffix, header.mode) == (fmt, suffix, mode)


@pytest.mark.parametrize("name", ["png-grey", "jpeg-grey", "tiff-16", "bmp-grey", "png-bilevel"])
def test_grey_stays_grey_until_a_fill_brings_colour(name: str) -> None:
    data = corpus()[name]
    mask = disc(*read_header(data).upright)
    grey = Patch(x=0, y=0, pixels=np.full((*mask.shape, 3), 77, np.uint8), mask=mask)
    assert read_header(one(rendered(item(data, mask, patches=(grey,))))).mode in ("L", "P", "I;16")  # P: grey BMP
    coloured = full(one(rendered(item(data, mask))))
    assert np.abs(coloured[40, 60].astype(int) - FILL).max() <= 12  # JPEG's rounding


@pytest.mark.parametrize(
    "name", ["jpeg", "jpeg-progressive", "jpeg-restart", "jpeg-grey", "jpeg-cmyk", "jpeg-rgb", "jpeg-noise", "mpo"]
)
def test_a_jpeg_keeps_tables_subsampling_and_progression(name: str) -> None:
    data = corpus()[name]
    header = read_header(data)
    mask = disc(*header.upright)
    patch = Patch(x=0, y=0, pixels=np.full((*mask.shape, 3), 77, np.uint8), mask=mask)
    after = read_header(one(rendered(item(data, mask, patches=(patch,)))))
    if name != "jpeg-cmyk":
        assert after.quantization == header.quantization
    else:
        assert set(after.quantization) <= set(header.quantization)
    if header.mode == "RGB":
        assert after.subsampling == header.subsampling
    again = open_image(one(rendered(item(data, mask, patches=(patch,)))))
    assert again.info.get("progressive") == open_image(data).info.get("progressive")


def test_a_progressive_jpeg_of_noise_can_be_written() -> None:
    """Pillow cannot write this one progressive (its buffer is too small), so it is written baseline."""
    noise = np.random.default_rng(1).integers(0, 256, (300, 400, 3), np.uint8)
    flags = [cv2.IMWRITE_JPEG_QUALITY, 100, cv2.IMWRITE_JPEG_PROGRESSIVE, 1]
    flags += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    data = cv2.imencode(".jpg", noise, flags)[1].tobytes()
    assert open_image(data).info.get("progressive")
    after = one(rendered(item(data, disc(300, 400))))
    assert read_header(after).quantization == read_header(data).quantization
    assert not open_image(after).info.get("progressive")


def test_outside_the_region_a_jpeg_stays_close() -> None:
    """With the source's own tables a second coding adds next to nothing away from the region."""
    data = metadata_samples.jpeg(metadata_samples.photo(), quality=85)
    mask = disc(512, 512, y=110, x=230, radius=70)
    difference = np.abs(full(one(rendered(item(data, mask)))).astype(int) - full(data))
    far = ~disc(512, 512, y=110, x=230, radius=100)
    assert difference[far].mean() < 0.35
    assert (difference[far] <= 3).mean() > 0.99


@pytest.mark.parametrize("name", ["png", "jpeg", "tiff", "webp", "avif"])
def test_the_profile_is_kept_or_the_pixels_converted(name: str) -> None:
    data = metadata_samples.saved(metadata_samples.small(), name.upper(), icc_profile=metadata_samples.SRGB)
    mask = disc(90, 121)
    for given in (item(data), item(data, mask)):
        assert read_header(one(rendered(given, icc="keep"))).icc == metadata_samples.SRGB
        assert read_header(one(rendered(given, icc="srgb"))).icc == b""


@pytest.mark.parametrize("region", [False, True])
def test_colours_of_another_profile_are_converted(region: bool) -> None:
    flat = Image.new("RGB", (121, 90), (200, 30, 10))
    data = metadata_samples.saved(flat, "PNG", icc_profile=swapped_profile())
    mask = disc(90, 121)
    given = item(data, mask if region else None)
    result = one(rendered(given, icc="srgb"))
    assert read_header(result).icc == b""
    assert np.abs(full(result)[2, 2].astype(int) - (10, 30, 200)).max() <= 1
    kept = one(rendered(given, icc="keep"))
    assert read_header(kept).icc == swapped_profile()
    assert (full(kept)[2, 2] == (200, 30, 10)).all()


def test_a_broken_or_foreign_profile_is_dropped() -> None:
    broken = metadata_samples.saved(metadata_samples.small(), "JPEG", icc_profile=metadata_samples.SECRET * 20)
    mask = disc(90, 121)
    for given in (item(broken), item(broken, mask)):
        for icc in ("keep", "srgb"):
            result = one(rendered(given, icc=icc))
            assert read_header(result).icc == b""
            assert metadata_samples.SECRET not in result
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    foreign = metadata_samples.saved(metadata_samples.small(), "JPEG", icc_profile=lab)
    assert read_header(one(rendered(item(foreign, mask)))).icc == b""


# --- pasting ---------------------------------------------------------------------------------------------------


def test_patches_change_nothing_outside_the_region() -> None:
    rgb = np.asarray(metadata_samples.photo()).copy()
    mask = disc(512, 512, y=110, x=230, radius=70)
    everywhere = Patch(x=0, y=0, pixels=np.full_like(rgb, 3), mask=np.ones((512, 512), np.bool_))
    out = paste(rgb, mask, (everywhere,))
    np.testing.assert_array_equal(out[~mask], rgb[~mask])
    assert (out[mask] == 3).all()


def test_patches_that_leave_a_pixel_over_are_rejected() -> None:
    data = corpus()["png"]
    mask = disc(90, 121)
    part = mask.copy()
    part[40, 60] = False
    patch = Patch(x=0, y=0, pixels=np.zeros((90, 121, 3), np.uint8), mask=part)
    for outputs in (("filled",), ("filled", "overlay")):
        with pytest.raises(ImageError, match=r"region_not_filled: 1 of"):
            rendered(item(data, mask, patches=(patch,)), outputs=outputs)
    with pytest.raises(ImageError, match="region_not_filled"):
        rendered(item(data, mask, patches=()))
    # Without `filled` nothing is asked of a fill, unless the run is private and shows pixels.
    assert rendered(item(data, mask, patches=()), outputs=("overlay",)).status == "written"
    assert rendered(item(data, mask, patches=()), outputs=("labels",), private=True).status == "written"
    for kind in ("overlay", "cutout"):
        with pytest.raises(ImageError, match="region_not_filled"):
            rendered(item(data, mask, patches=()), outputs=(kind,), private=True)


@pytest.mark.parametrize(("x", "y", "shape"), [(-1, 0, (9, 9)), (0, 85, (9, 9)), (0, 0, (9, 8))])
def test_a_patch_that_does_not_fit_is_rejected(x: int, y: int, shape: tuple[int, int]) -> None:
    patch = Patch(x=x, y=y, pixels=np.zeros((*shape, 3), np.uint8), mask=np.ones((9, 9), np.bool_))
    with pytest.raises(ImageError, match="bad_patch"):
        rendered(item(corpus()["png"], disc(90, 121), patches=(patch,)))


def test_sizes_that_do_not_agree_are_rejected() -> None:
    given = item_with(
        item(corpus()["png"], disc(90, 121)), data=metadata_samples.png(metadata_samples.small().resize((120, 90)))
    )
    with pytest.raises(ImageError, match="shape_mismatch"):
        rendered(given)


def item_with(filled: Filled, *, data: bytes) -> Filled:
    image = EncodedImage(ref=filled.image.ref, data=data)
    return Filled(image=image, segments=filled.segments, region=filled.region, patches=filled.patches)


@pytest.mark.parametrize("feather", [1, 4, 30, 500])
@pytest.mark.parametrize("shape", ["disc", "edge", "rings"])
def test_a_feather_never_mixes_in_what_was_there(feather: int, shape: str) -> None:
    """The region held one colour in a grey world, the fill is grey: any colour in the result would be a leak."""
    height, width = 120, 160
    if shape == "disc":
        mask = disc(height, width, y=50, x=70, radius=30)
    elif shape == "edge":
        mask = disc(height, width, y=0, x=159, radius=60)
    else:
        mask = disc(height, width, y=60, x=80, radius=50) & ~disc(height, width, y=60, x=80, radius=40)
        mask[5, 5] = True
    ramp = np.linspace(40, 220, width).astype(np.uint8)
    rgb = np.repeat(np.repeat(ramp[None, :, None], height, 0), 3, 2)
    rgb[mask] = LEAK
    patch = Patch(x=0, y=0, pixels=np.full_like(rgb, 10), mask=mask)
    out = paste(rgb, mask, (patch,), feather=feather)
    assert (out[..., 0] == out[..., 1]).all()
    assert (out[..., 1] == out[..., 2]).all()
    np.testing.assert_array_equal(out[~mask], rgb[~mask])
    hard = paste(rgb, mask, (patch,))
    assert not (out == hard).all()  # it does fade


def test_a_feather_fades_from_the_outside_to_the_fill() -> None:
    rgb = np.full((40, 40, 3), 200, np.uint8)
    mask = np.zeros((40, 40), np.bool_)
    mask[10:30, :] = True
    out = paste(rgb, mask, (Patch(x=0, y=0, pixels=np.zeros_like(rgb), mask=mask),), feather=4)
    assert out[8:17, 20, 0].tolist() == [200, 200, 160, 120, 80, 40, 0, 0, 0]


def test_a_region_of_the_whole_image_has_nothing_to_fade_to() -> None:
    rgb = np.full((20, 30, 3), LEAK)
    mask = np.ones((20, 30), np.bool_)
    out = paste(rgb, mask, (Patch(x=0, y=0, pixels=np.full_like(rgb, 7), mask=mask),), feather=9)
    assert (out == 7).all()


# --- images without a region -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_an_image_without_a_region_passes_with_its_pixels(name: str) -> None:
    data = corpus()[name]
    result = rendered(item(data))
    assert result.status == "unchanged"
    passed = one(result)
    assert metadata_samples.SECRET not in passed
    assert read_header(passed).format == read_header(data).format
    np.testing.assert_array_equal(full(passed), full(data))


class NoPixels:
    """A decoder that has none to give."""

    def full(self, image: EncodedImage) -> object:
        raise AssertionError("decoded")

    preview = full

    def header(self, image: EncodedImage) -> Header:
        return read_header(image.data)


def test_a_jpeg_that_passes_through_is_never_decoded_at_full_size() -> None:
    for name in ("jpeg", "jpeg-cmyk", "mpo"):
        result = Render()(item(corpus()[name]), NoPixels())  # type: ignore[arg-type]
        assert result.status == "unchanged"
    for data in (metadata_samples.saved(Image.new("RGB", (9, 9)), fmt) for fmt in ("JPEG", "PNG", "WEBP")):
        assert one(Render()(item(data), NoPixels())) == data  # type: ignore[arg-type]
    assert Render(outputs=())(item(corpus()["jpeg"], disc(90, 121)), NoPixels()).files == ()  # type: ignore[arg-type]


@pytest.mark.parametrize("orientation", range(2, 9))
@pytest.mark.parametrize("make", [metadata_samples.jpeg, metadata_samples.png])
def test_orientation_is_baked(make: Callable[..., bytes], orientation: int) -> None:
    data = make(metadata_samples.small(), orientation=orientation)
    expected = np.asarray(ImageOps.exif_transpose(open_image(data)))
    result = rendered(item(data))
    assert result.status == "unchanged"
    header = read_header(one(result))
    assert header.orientation == 1
    assert metadata_samples.SECRET not in one(result)
    seen = np.asarray(open_image(one(result))).astype(int)
    assert seen.shape == expected.shape
    if make is metadata_samples.png:
        np.testing.assert_array_equal(seen, expected)
    else:
        assert np.abs(seen - expected).mean() < 3  # the blocks of 8 lie elsewhere than in the source
        assert header.quantization == read_header(data).quantization
        assert header.subsampling == read_header(data).subsampling


@pytest.mark.parametrize("region", [False, True])
def test_orientation_with_alpha_keeps_every_straight_pixel(region: bool) -> None:
    data = metadata_samples.png(metadata_samples.with_alpha(metadata_samples.small()), orientation=6)
    expected = np.asarray(ImageOps.exif_transpose(open_image(data)))
    mask = disc(*read_header(data).upright)
    after = np.asarray(open_image(one(rendered(item(data, mask if region else None)))))
    keep = ~mask if region else np.ones_like(mask)
    np.testing.assert_array_equal(after[keep], expected[keep])


def test_a_tiff_that_cannot_be_cut_is_coded_anew_without_loss() -> None:
    uncut = metadata_samples.saved(
        metadata_samples.small().convert("YCbCr"), "TIFF"
    )  # uncompressed YCbCr: sizes cannot be checked
    result = rendered(item(uncut))
    assert result.status == "unchanged"
    np.testing.assert_array_equal(full(one(result)), full(uncut))


# --- private runs ----------------------------------------------------------------------------------------------


def leaky(fmt: str = "PNG", **options: object) -> tuple[bytes, Mask]:
    """A photograph whose region is painted in a colour that occurs nowhere else."""
    rgb = np.asarray(metadata_samples.photo()).copy()
    mask = disc(512, 512, y=110, x=230, radius=60)
    rgb[mask] = LEAK
    return metadata_samples.saved(Image.fromarray(rgb), fmt, **options), mask


def leaks(data: bytes) -> int:
    """Pixels near the painted colour."""
    rgb = np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)
    return int((np.abs(rgb - LEAK).max(axis=2) < 60).sum())


@pytest.mark.parametrize("feather", [0, 12])
def test_a_private_run_shows_nothing_of_the_region_anywhere(feather: int) -> None:
    data, mask = leaky()
    given = item(data, mask)
    result = rendered(
        given, outputs=("filled", "overlay", "cutout", "labels"), private=True, feather=feather, preview=True
    )
    (preview,) = result.previews
    assert leaks(data) > 10_000
    for shown in (*(file.data for file in result.files), preview.before, preview.mask, preview.after):
        assert leaks(shown) == 0
    open_run = rendered(given, outputs=("overlay", "cutout"), preview=True)
    assert leaks(open_run.files[1].data) > 10_000  # the check sees it where it may be
    assert leaks(open_run.previews[0].before) > 1_000


def test_a_private_preview_without_a_fill_is_blanked_too() -> None:
    data, mask = leaky()
    (preview,) = rendered(item(data, mask, patches=()), outputs=(), private=True, preview=True).previews
    assert leaks(preview.before) == leaks(preview.after) == 0


def test_blanking_before_shrinking_leaves_no_trace() -> None:
    """Two images that differ inside the region alone have the same private previews, byte for byte, and seam."""
    rgb = np.asarray(metadata_samples.photo()).copy()
    mask = disc(512, 512, y=110, x=230, radius=60)
    seen = set()
    for colour in ((255, 255, 255), (0, 0, 0), (255, 0, 255)):
        rgb[mask] = colour
        result = rendered(
            item(metadata_samples.saved(Image.fromarray(rgb), "PNG"), mask), private=True, feather=5, preview=True
        )
        (preview,) = result.previews
        seen.add((preview.before, preview.mask, preview.after, result.seam))
    assert len(seen) == 1


@pytest.mark.parametrize(
    "name",
    [
        "png-alpha",
        "png-grey-alpha",
        "png-palette-trns",
        "webp-lossless-alpha",
        "tiff-alpha",
        "gif-transparent",
        "avif-alpha",
    ],
)
@pytest.mark.parametrize("region", [False, True])
def test_a_private_run_flattens_alpha(name: str, region: bool) -> None:
    data = corpus()[name]
    mask = disc(*read_header(data).upright)
    result = rendered(item(data, mask if region else None), private=True)
    assert not read_header(one(result)).has_alpha
    outside = ~mask if region else np.ones_like(mask)
    difference = np.abs(full(one(result)).astype(int) - full(data))[outside]
    assert difference.max() <= (24 if "avif" in name else 0)


def test_a_rejected_image_is_pictured_unless_private() -> None:
    decoder = Decode().load()
    image = item(corpus()["jpeg"]).image
    assert Image.open(io.BytesIO(Render().picture(image, decoder))).size == (121, 90)
    assert Render(private=True).picture(image, decoder) == b""
    broken = EncodedImage(ref=ImageRef(image_id="broken", key="b", member="b.jpg"), data=b"\xff\xd8\xff broken")
    assert Render().picture(broken, decoder) == b""


# --- overlay, cutout, label map --------------------------------------------------------------------------------


def test_a_cutout_shows_the_selected_segments_and_nothing_else() -> None:
    data = corpus()["png"]
    one_disc, other = disc(90, 121, x=30, radius=15), disc(90, 121, x=90, radius=15)
    given = item(data, one_disc, segments=(segment_of(one_disc), segment_of(other, "cat")))
    given = Filled(
        image=given.image,
        segments=given.segments,
        region=Region(image_id="", height=90, width=121, rle=given.region.rle, area=given.region.area, chosen=(0,)),
        patches=given.patches,
    )
    cut = np.asarray(open_image(one(rendered(given, outputs=("cutout",)))))
    np.testing.assert_array_equal(cut[..., 3] == 255, one_disc)
    assert (cut[~one_disc] == 0).all()
    np.testing.assert_array_equal(cut[one_disc][:, :3], full(data)[one_disc])


def test_a_label_map_gives_each_pixel_its_best_segment() -> None:
    left, right = disc(90, 121, x=50, radius=20), disc(90, 121, x=70, radius=20)
    segments = (segment_of(left, "text", 0.8, class_id=2), segment_of(right, "face", 0.6, class_id=1))
    given = item(corpus()["jpeg"], left | right, segments=segments)
    values = np.asarray(open_image(one(rendered(given, outputs=("labels",)))))
    assert values.dtype == np.uint8
    assert (values[left] == 2).all()
    assert (values[right & ~left] == 1).all()
    assert (values[~(left | right)] == 0).all()
    for class_id in (300, 65535):
        wide = item(corpus()["jpeg"], left, segments=(segment_of(left, class_id=class_id),))
        assert np.asarray(open_image(one(rendered(wide, outputs=("labels",)))))[40, 50] == class_id
    for class_id in (-1, 0, 65536):
        bad = item(corpus()["jpeg"], left, segments=(segment_of(left, class_id=class_id),))
        with pytest.raises(ImageError, match=f"unknown_label: expected a class id from 1 to 65535, got {class_id}"):
            rendered(bad, outputs=("labels",))


def test_an_overlay_tints_segments_in_the_colour_of_their_label() -> None:
    data = metadata_samples.png(metadata_samples.photo())
    mask = disc(512, 512, y=300, x=230, radius=80)
    seen = np.asarray(open_image(one(rendered(item(data, mask), outputs=("overlay",))))).astype(float)
    expected = full(data) * 0.55 + np.array(colour_of("face")) * 0.45
    inner = disc(512, 512, y=330, x=230, radius=30)
    assert np.abs(seen[inner] - expected[inner]).mean() < 6
    assert np.abs(seen[420:] - full(data)[420:]).mean() < 4
    assert colour_of("face") != colour_of("text")


def test_an_image_with_nothing_found_has_all_its_files() -> None:
    result = rendered(item(corpus()["jpeg"]), outputs=("filled", "overlay", "cutout", "labels"), preview=True)
    assert result.status == "unchanged"
    assert np.asarray(open_image(result.files[2].data)).max() == 0
    assert np.asarray(open_image(result.files[3].data)).max() == 0
    assert np.asarray(open_image(result.previews[0].mask)).max() == 0


def test_too_long_sides_are_rejected() -> None:
    with pytest.raises(ImageError, match="too_large_to_encode: JPEG holds 65500"):
        rendered(item(metadata_samples.saved(Image.new("L", (65501, 2)), "PNG")), outputs=("overlay",))
    mask = np.zeros((2, 70000), np.bool_)
    mask[0, :5] = True
    assert rendered(item(metadata_samples.saved(Image.new("L", (70000, 2)), "PNG"), mask)).status == "written"


# --- sidecars --------------------------------------------------------------------------------------------------


def columns(**values: pa.Array) -> Sidecar:
    out = pa.BufferOutputStream()
    table = pa.table(values)
    with pa.ipc.new_stream(out, table.schema) as writer:
        writer.write_table(table)
    return Sidecar(name="columns", data=out.getvalue().to_pybytes(), kind="columns")


def test_sidecars_are_kept_as_told_and_a_private_run_keeps_no_picture() -> None:
    picture = corpus()["jpeg"]
    row = columns(
        caption=pa.array(["an astronaut"]),
        tags=pa.array([["space", "suit"]]),
        width=pa.array([121]),
        thumb=pa.array([picture]),
        image=pa.array([{"bytes": picture, "path": "x.jpg"}]),
        pixels=pa.array([[1, 2, 3]], pa.list_(pa.uint8())),
    )
    text = Sidecar(name="txt", data="Ein Satz mit ä.".encode())
    binary = Sidecar(name="seg.png", data=corpus()["png"])
    disguised = Sidecar(name="json", data=picture)
    given = item(corpus()["jpeg"], sidecars=(text, binary, disguised, row))
    assert rendered(given).sidecars == given.image.sidecars
    assert rendered(given, keep_sidecars=False).sidecars == ()
    first, second = rendered(given, private=True).sidecars
    assert first == text
    assert pa.ipc.open_stream(second.data).read_all().to_pylist() == [
        {"caption": "an astronaut", "tags": ["space", "suit"], "width": 121}
    ]
    only_bytes = item(corpus()["jpeg"], sidecars=(columns(thumb=pa.array([picture])),))
    assert rendered(only_bytes, private=True).sidecars == ()
    broken = item(corpus()["jpeg"], sidecars=(Sidecar(name="columns", data=b"no arrow", kind="columns"),))
    with pytest.raises(ImageError, match="bad_sidecar"):
        rendered(broken, private=True)


# --- the seam --------------------------------------------------------------------------------------------------


def test_the_seam_is_that_of_the_filled_picture() -> None:
    rgb = np.full((100, 120, 3), 90, np.uint8)
    mask = disc(100, 120)
    painted = Patch(x=0, y=0, pixels=np.full_like(rgb, 140), mask=mask)
    given = item(metadata_samples.saved(Image.fromarray(rgb), "PNG"), mask, patches=(painted,))
    assert rendered(given).seam == math.sqrt(50 / FLOOR)
    assert rendered(given, feather=9).seam == round(math.sqrt(5 / FLOOR), 4)  # the first of ten steps from 90 to 140


def test_where_no_filled_picture_is_made_there_is_no_seam() -> None:
    data, mask = leaky()
    assert rendered(item(data, mask, patches=()), outputs=("overlay",)).seam == 0.0
    assert rendered(item(data)).seam == 0.0


# --- the config ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"outputs": ("fileld",)},
            r"render\.outputs\[0\]: expected a list, each filled, overlay, cutout or labels, got 'fileld'",
        ),
        ({"outputs": ("filled", "filled")}, r"render\.outputs: expected each name once, got"),
        ({"labels": ["face", "face"]}, r"render\.labels: expected each name once, got"),
        ({"labels": [3]}, r"render\.labels\[0\]: expected a list, each text, got 3"),
        ({"feather": -1}, r"render\.feather: expected a whole number from 0 to 1024, got -1"),
        ({"feather": 1.5}, r"render\.feather: expected a whole number from 0 to 1024, got 1\.5"),
        ({"quality": 0}, r"render\.quality: expected a whole number from 1 to 100, got 0"),
        ({"quality": True}, r"render\.quality: expected a whole number from 1 to 100, got True"),
        ({"private": "yes"}, r"render\.private: expected true or false, got 'yes'"),
        ({"icc": "drop"}, r"render\.icc: expected keep or srgb, got 'drop'"),
        ({"preview_side": 5}, r"render\.preview_side: expected a whole number from 16 to 2048, got 5"),
    ],
)
def test_a_value_that_cannot_work_is_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        made("render", Render, **options)


def test_a_list_of_a_config_becomes_a_tuple() -> None:
    render = made("render", Render, outputs=["overlay"], labels=["a", "b"])
    assert (render.outputs, render.labels) == (("overlay",), ("a", "b"))


@pytest.mark.slow
@pytest.mark.parametrize("choice", ["filled", "overlay", "cutout", "labels", "none", "everything"])
def test_each_preset_makes_the_files_of_its_name(choice: str) -> None:
    """Everything: of a job without a fill."""
    kinds = {"none": (), "everything": ("overlay", "cutout", "labels")}.get(
        choice, (choice,)
    )  # of a job without a fill
    assert preset("render", choice) == Render(outputs=kinds)  # type: ignore[arg-type]
