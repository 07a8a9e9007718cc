"""jpeg_scan.py: a JPEG with a wrong size in its header is found, and no pixel of a sound one changes."""

import io
import random
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from pipeline.errors import ImageError
from pipeline.image.decode import Decode
from pipeline.image.jpeg_scan import hides
from pipeline.image.view import Fit
from pipeline.records import EncodedImage, ImageRef
from tests.fakes.crafted_images import resized_jpeg, scan_by_scan
from tests.fakes.metadata_samples import jpeg, mpo, photo, saved

WAYS: list[dict[str, object]] = [
    {},
    {"subsampling": 0},
    {"subsampling": 1, "quality": 95},
    {"quality": 5},
    {"optimize": True},
    {"restart_marker_blocks": 3},
    {"restart_marker_rows": 1},
]
REF = ImageRef(image_id="a", key="a", member="a")


def made(seed: int) -> tuple[Image.Image, bytes]:
    rng = random.Random(seed)
    left, top = rng.randrange(200), rng.randrange(200)
    picture = photo().crop((left, top, left + rng.randint(1, 300), top + rng.randint(1, 300)))
    picture = picture.convert(rng.choice(["RGB", "RGB", "L", "CMYK"]))
    return picture, saved(picture, "JPEG", **WAYS[seed % len(WAYS)])


def view_of(data: bytes, side: int) -> np.ndarray:
    (view,) = Decode(cache_bytes=0).load().views(EncodedImage(ref=REF, data=data), [Fit(side=side)])
    return view.tiles[0].pixels


@pytest.mark.parametrize("seed", range(42))
def test_a_sound_file_is_read_at_every_scale_and_to_the_same_pixels(seed: int) -> None:
    _, data = made(seed)
    for side in (1000, 50, 8):
        view_of(data, side)
    shown = Decode().load().full(EncodedImage(ref=REF, data=data)).rgb
    with Image.open(io.BytesIO(data)) as image:
        np.testing.assert_array_equal(shown, np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("make", [jpeg, mpo, lambda image: saved(image, "JPEG", progressive=True)])
def test_bytes_behind_the_scan_do_not_matter(make: Callable[[Image.Image], bytes]) -> None:
    view_of(make(photo()), 640)


@pytest.mark.promise("A JPEG whose header hides or invents a part of the picture is rejected")
@pytest.mark.parametrize("way", range(len(WAYS)))
@pytest.mark.parametrize("share", [0.25, 0.8, 1.25, 4.0])
@pytest.mark.parametrize("side", [1000, 8])
def test_a_header_of_another_size_is_found(way: int, share: float, side: int) -> None:
    data = resized_jpeg(saved(photo().crop((0, 0, 300, 200)), "JPEG", **WAYS[way]), 300, round(200 * share))
    with pytest.raises(ImageError) as caught:
        view_of(data, side)
    assert caught.value.reason == "size_mismatch"
    assert f"300x{round(200 * share)}, but {'more' if share < 1 else 'fewer'} pixels" in caught.value.detail


@pytest.mark.parametrize("size", [1, 20, 31, 33, 64, 511, 4096])
@pytest.mark.parametrize("filler", [b"\0", b"\xff"])
def test_padding_behind_the_last_block_is_allowed(filler: bytes, size: int) -> None:
    data = saved(photo(), "JPEG")
    padded = data[:-2] + filler * size + data[-2:]
    np.testing.assert_array_equal(view_of(padded, 640), view_of(data, 640))
    progressive = saved(photo(), "JPEG", progressive=True)
    assert not hides(progressive[:-2] + filler * size + progressive[-2:])


def test_other_bytes_behind_the_last_block_are_not_padding() -> None:
    data = saved(photo(), "JPEG")
    for more in (bytes(range(1, 200)), b"\0\1" * 100, bytes(range(1, 200)) + bytes(500)):
        with pytest.raises(ImageError, match="more pixels"):
            view_of(data[:-2] + more + data[-2:], 640)


@pytest.mark.promise("A JPEG whose header hides or invents a part of the picture is rejected")
def test_padding_does_not_cover_a_hidden_part() -> None:
    whole = saved(photo(), "JPEG")
    with pytest.raises(ImageError, match="more pixels"):
        view_of(resized_jpeg(whole[:-2] + bytes(4096) + whole[-2:], 512, 256), 640)
    progressive = saved(photo(), "JPEG", progressive=True)
    end = progressive.index(b"\xff\xc4", progressive.index(b"\xff\xda"))  # of the first scan: its tables follow
    padded = progressive[:end] + bytes(64) + progressive[end:]
    assert not hides(padded)
    assert hides(resized_jpeg(padded, 512, 256))


@pytest.mark.parametrize("small_colours", [False, True])
@pytest.mark.parametrize("quality", [5, 90, 100])
@pytest.mark.parametrize("kind", ["photo", "noise", "white"])
def test_a_sequential_file_of_several_scans_hides_nothing(kind: str, quality: int, small_colours: bool) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (243, 317, 3), np.uint8)
    picture = {"photo": photo().crop((0, 0, 317, 243)), "noise": Image.fromarray(noise)}.get(kind)
    data = scan_by_scan(picture or Image.new("RGB", (317, 243), "white"), small_colours=small_colours, quality=quality)
    shown = view_of(data, 1000)
    assert shown.shape == (243 + 13, 317 + 3, 3)
    assert not hides(data)
    assert not hides(data[:-2] + bytes(4096) + data[-2:])


@pytest.mark.promise("A JPEG whose header hides or invents a part of the picture is rejected")
@pytest.mark.parametrize("small_colours", [False, True])
@pytest.mark.parametrize("share", [0.25, 0.5, 0.9])
def test_a_sequential_file_of_several_scans_that_hides_a_part_is_found(share: float, small_colours: bool) -> None:
    data = scan_by_scan(photo(), small_colours=small_colours)
    assert hides(resized_jpeg(data, 512, round(512 * share)))


@pytest.mark.promise("A JPEG whose header hides or invents a part of the picture is rejected")
@pytest.mark.parametrize("share", [0.25, 0.5, 0.8])
@pytest.mark.parametrize("way", [{}, {"subsampling": 0}, {"quality": 20}, {"optimize": True}])
def test_a_progressive_file_that_hides_a_part_is_found(way: dict[str, object], share: float) -> None:
    data = saved(photo(), "JPEG", progressive=True, **way)
    assert not hides(data)
    assert hides(resized_jpeg(data, 512, round(512 * share)))


@pytest.mark.parametrize("seed", range(30))
def test_a_sound_progressive_file_hides_nothing(seed: int) -> None:
    picture, sequential = made(seed)
    assert not hides(sequential)
    assert not hides(saved(picture, "JPEG", progressive=True))


@pytest.mark.parametrize("colour", ["white", "black", "#808080", "red"])
@pytest.mark.parametrize("side", [8, 64, 500, 1000])
def test_a_progressive_file_of_one_colour_hides_nothing(colour: str, side: int) -> None:
    assert not hides(saved(Image.new("RGB", (side, side), colour), "JPEG", progressive=True))
