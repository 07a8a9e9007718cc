"""An image of each frame: names, ids, limits, pixels in order, and keys that a resumed run can trace back."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageSequence, TiffImagePlugin

from pipeline.errors import ImageError
from pipeline.image.decode import Decode
from pipeline.image.frames import expanded, source_row
from pipeline.image.header import open_image, read_header
from pipeline.image.view import Fit
from pipeline.records import EncodedImage, ImageRef, Rejected, Sidecar, Unit, UnitBatch
from tests.fakes.format_samples import dicom, heic, jxl, nifti, noise, saved

UNIT = Unit(unit_id="u", shard="a.tar", uri="", etag="", start=0, stop=1, last=True)
PICTURES = [Image.fromarray(np.kron(noise(6, 8, seed=seed), np.ones((8, 8, 1), np.uint8))) for seed in range(5)]
ALL = Decode(frames="all")


def ref(name: str) -> ImageRef:
    return ImageRef(image_id=f"id-{name}", key=name.rpartition(".")[0] or name, member=name, sha256="5" * 64)


def item(data: bytes, name: str = "film.gif") -> EncodedImage:
    sidecars = (Sidecar(name="txt", data=b"caption"),)
    return EncodedImage(ref=ref(name), data=data, sidecars=sidecars)


def expand(*items: EncodedImage | Rejected, decode: Decode = ALL) -> tuple[Any, ...]:
    return expanded(UnitBatch(unit=UNIT, items=items, seconds={"read": 1.0}), decode).items


def film(kind: str, **options: Any) -> bytes:
    first, *others = (Image.fromarray(np.asarray(picture)) for picture in PICTURES)  # Pillow leaves its options in them
    return saved(first, kind, save_all=True, append_images=others, **options)


def reference(data: bytes) -> list[NDArray[np.uint8]]:
    """The frames as Pillow shows them one after the other, upon white."""
    frames = []
    for frame in ImageSequence.Iterator(Image.open(io.BytesIO(data))):
        white = Image.new("RGBA", frame.size, "white")
        frames.append(np.asarray(Image.alpha_composite(white, frame.convert("RGBA")).convert("RGB")))
    return frames


FILMS: dict[str, dict[str, Any]] = {
    "GIF": {},
    "PNG": {},
    "WEBP": {"lossless": True},
    "AVIF": {"quality": 90},
    "TIFF": {"compression": "tiff_adobe_deflate"},
}


@pytest.mark.parametrize("bits", [8, 16])
def test_a_page_of_deep_colours_is_never_shown_as_the_first_one(bits: int) -> None:
    """A face on a later page must reach the detector: the reader of 16-bit colours reads first pages only."""
    eight = [np.asarray(picture) for picture in PICTURES[:3]]
    pages = eight if bits == 8 else [page.astype(np.uint16) * 257 for page in eight]
    out = io.BytesIO()
    tifffile.imwrite(out, np.stack(pages), photometric="rgb")
    frames = expand(item(out.getvalue(), "scan.tif"))
    assert [image.frame for image in frames] == [1, 2, 3]
    decoder = ALL.load()
    for image, page in zip(frames, PICTURES, strict=False):
        assert np.abs(decoder.full(image).rgb.astype(int) - np.asarray(page).astype(int)).max() <= 1
        assert decoder.deep(image) is None
    first = Decode(frames="first").load()
    assert np.array_equal(first.full(item(out.getvalue(), "scan.tif")).rgb, np.asarray(PICTURES[0]))


@pytest.mark.parametrize("kind", FILMS)
def test_each_frame_is_an_image_with_its_own_pixels(kind: str) -> None:
    data = film(kind, **FILMS[kind])
    frames = expand(item(data))
    assert [image.frame for image in frames] == [1, 2, 3, 4, 5]
    assert [image.ref.member for image in frames] == [f"film.gif#frame={n}" for n in range(1, 6)]
    assert [image.ref.key for image in frames] == [f"film#frame={n}" for n in range(1, 6)]
    assert len({image.ref.image_id for image in frames}) == 5
    assert {(image.ref.sha256, image.sidecars[0].data) for image in frames} == {("5" * 64, b"caption")}
    assert all(image.data is data for image in frames)
    decoder = ALL.load()
    for image, expected in zip(frames, reference(data), strict=True):
        (view,) = decoder.views(image, (Fit(side=64, multiple=1),))
        assert np.array_equal(view.tiles[0].pixels, expected)
        assert np.array_equal(decoder.full(image).rgb, expected)
        assert (decoder.header(image).frame, decoder.header(image).frames) == (image.frame, 5)


@pytest.mark.parametrize("kind", FILMS)
def test_the_order_of_decoding_does_not_matter(kind: str) -> None:
    frames = expand(item(film(kind, **FILMS[kind])))
    ahead = [ALL.load().full(image).rgb for image in frames]
    jumping = Decode(frames="all", cache_bytes=0).load()
    for place in (4, 0, 1, 2, 2, 1, 3, 4):
        assert np.array_equal(jumping.full(frames[place]).rgb, ahead[place])


def test_a_transparent_film_is_composited_frame_by_frame() -> None:
    sprites = []
    for place in range(4):
        sprite = Image.new("RGBA", (40, 30), (0, 0, 0, 0))
        sprite.paste((255, 0, 0, 255), (place * 10, 5, place * 10 + 8, 20))
        sprites.append(sprite)
    data = saved(sprites[0], "GIF", save_all=True, append_images=sprites[1:], disposal=2)
    decoder = ALL.load()
    for place, image in enumerate(expand(item(data))):
        rgb = decoder.full(image).rgb
        assert (rgb[6:19, place * 10 + 1 : place * 10 + 7] == (255, 0, 0)).all()
        assert (rgb[:, : place * 10] == 255).all()


def test_the_orientation_holds_for_each_frame() -> None:
    block = Image.Exif()
    block[0x0112] = 6
    data = film("PNG", exif=block.tobytes())
    decoder = ALL.load()
    for image, expected in zip(expand(item(data)), reference(data), strict=True):
        assert np.array_equal(decoder.full(image).rgb, np.rot90(expected, -1))


def test_pictures_of_a_heic_a_dicom_and_a_volume() -> None:
    pictures = [np.asarray(picture) for picture in PICTURES]
    for data, error in ((heic(*PICTURES, primary_index=2), 1), (dicom(np.stack(pictures), frames=5), 0)):
        frames = expand(item(data, "film"))
        assert [image.ref.member for image in frames] == [f"film#frame={n}" for n in range(1, 6)]
        for image, expected in zip(frames, pictures, strict=True):
            assert np.abs(ALL.load().full(image).rgb.astype(int) - expected).max() <= error
    volume = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
    frames = expand(item(nifti(volume, cal_max=255, packed=True)))
    decoder = ALL.load()
    assert [decoder.full(image).rgb[..., 0].tolist() for image in frames] == [
        volume[..., k].T.tolist() for k in range(3)
    ]


def test_smaller_copies_and_masks_in_a_tiff_are_no_frames() -> None:
    out = io.BytesIO()
    with_type = [(PICTURES[0], 0), (PICTURES[0].reduce(2), 1), (PICTURES[1], 2), (PICTURES[2].convert("1"), 4)]
    with TiffImagePlugin.AppendingTiffWriter(out, True) as writer:
        for picture, kind in with_type:
            picture.save(writer, "TIFF", tiffinfo={254: kind} if kind else {})
            writer.newFrame()
    data = out.getvalue()
    assert read_header(data).frames == 2
    frames = expand(item(data))
    assert [image.frame for image in frames] == [1, 2]
    for image, expected in zip(frames, PICTURES[:2], strict=True):
        assert np.array_equal(ALL.load().full(image).rgb, np.asarray(expected))


def test_one_frame_and_what_is_no_film_stay_as_they_are() -> None:
    still, mpo = saved(PICTURES[0], "GIF"), film("MPO")
    broken, other = b"GIF89a" + bytes(9), jxl(noise())
    given = tuple(item(data) for data in (still, mpo, broken, other, b"", b"%PDF-"))
    assert expand(*given) == given
    failed = Rejected(ref=ref("a.png"), stage="read", reason="x", detail="y")
    assert expand(failed) == (failed,)


@pytest.mark.parametrize("frames", ["first", "reject"])
def test_nothing_is_expanded_unless_asked_for(frames: str) -> None:
    given = item(film("GIF"))
    assert expand(given, decode=Decode(frames=frames)) == (given,)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", FILMS)
def test_the_first_frame_alone(kind: str) -> None:
    data = film(kind, **FILMS[kind])
    first = Decode(frames="first").load()
    assert np.array_equal(first.full(item(data)).rgb, reference(data)[0])
    assert np.array_equal(np.asarray(open_image(data, 1).convert("RGB")), reference(data)[0])


def test_too_many_frames_or_pixels_reject_the_file_as_one_row() -> None:
    limits: list[tuple[dict[str, Any], str]]
    limits = [({"max_frames": 4}, "too_many_frames"), ({"max_frame_pixels": 15359}, "too_many_pixels")]
    for options, reason in limits:
        (row,) = expand(item(film("GIF")), decode=Decode(frames="all", **options))
        assert isinstance(row, Rejected)
        assert (row.stage, row.reason, row.ref) == ("decode", reason, ref("film.gif"))
        assert next(iter(options)) in row.detail
    assert len(expand(item(film("GIF")), decode=Decode(frames="all", max_frames=5, max_frame_pixels=15360))) == 5


def test_a_film_whose_frames_are_too_large_is_one_row_that_decode_rejects() -> None:
    small = Decode(frames="all", max_pixels=3071)
    given = item(film("GIF"))
    assert expand(given, decode=small) == (given,)
    with pytest.raises(ImageError) as caught:
        small.load().full(given)
    assert caught.value.reason == "too_many_pixels"


@pytest.mark.parametrize("key", ["film#frame=1", "film#frame=12~0123abcd", "film#frame=1~0123abcd~0123abcd"])
def test_a_key_of_the_source_is_never_that_of_a_frame(key: str) -> None:
    still = EncodedImage(ref=ImageRef(image_id="1", key=key, member=f"{key}.png"), data=saved(PICTURES[0], "PNG"))
    for decode in (ALL, Decode()):
        (kept,) = expand(still, decode=decode)
        assert kept.ref.key != key
        assert kept.ref.key.startswith(f"{key}~")
        assert source_row(kept.ref.key, kept.ref.member) == (key, still.ref.member)
    rejected = Rejected(ref=still.ref, stage="read", reason="x", detail="y")
    assert source_row(expand(rejected)[0].ref.key, still.ref.member) == (key, still.ref.member)


@given(st.text("a#frme=1~0b.", max_size=24))
def test_every_key_leads_back_to_that_of_the_source(key: str) -> None:
    still = EncodedImage(ref=ImageRef(image_id=key, key=key, member=key), data=b"")
    assert source_row(expand(still)[0].ref.key, key) == (key, key)
    assert source_row(f"{key}#frame=7", f"{key}.gif#frame=7") == (key, f"{key}.gif")
