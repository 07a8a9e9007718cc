"""Formats beyond Pillow's: imported late, a missing package is named, hostile bytes raise ImageError only."""

from __future__ import annotations

import subprocess
import sys
from functools import cache

import numpy as np
import pytest
from PIL import Image
from pydicom import uid

from pipeline.errors import ImageError
from pipeline.image import formats
from pipeline.image.decode import Decode
from pipeline.image.header import ENCODED_ANEW, open_image
from pipeline.image.kinds import KINDS, by_bytes, by_suffix, is_image
from pipeline.records import EncodedImage, ImageRef
from tests.fakes.format_samples import DEEP_JPEG2000, dicom, heic, jxl, nifti, noise, saved

PACKAGES = ("pillow_heif", "pillow_jxl", "pydicom", "nibabel", "tifffile")
VOLUME = np.arange(20 * 31 * 5, dtype=np.int16).reshape(20, 31, 5)


@cache
def samples() -> dict[str, bytes]:
    return {
        "heic.heic": heic(noise()),
        "two.heif": heic(noise(), noise(seed=2)),
        "lossless.jxl": jxl(noise()),
        "lossy.jxl": jxl(noise(), lossless=False),
        "boxed.jxl": jxl(noise(), exif=b"II*\0\x08\0\0\0\0\0"),
        "file.jp2": saved(Image.fromarray(noise()), "JPEG2000"),
        "stream.j2k": saved(Image.fromarray(noise()), "JPEG2000", no_jp2=True),
        "deep.j2k": DEEP_JPEG2000[3],
        "colour.dcm": dicom(noise()),
        "packed.dcm": dicom(noise(), syntax=uid.RLELossless),
        "grey.dcm": dicom(noise(channels=1).astype(np.uint16) * 16, BitsStored=12, WindowCenter=9, WindowWidth=99),
        "first.nii": nifti(VOLUME),
        "second.nii": nifti(VOLUME, second=True),
        "packed.nii.gz": nifti(VOLUME, packed=True),
    }


def image(data: bytes) -> EncodedImage:
    return EncodedImage(ref=ImageRef(image_id=str(hash(data)), key="a", member="a"), data=data)


NAMES = sorted(samples())


@pytest.mark.parametrize("name", NAMES)
def test_sources_tell_each_by_its_bytes_and_by_its_suffix(name: str) -> None:
    data = samples()[name]
    kind = by_bytes(data[:512])
    assert kind is not None
    assert is_image(data[:512])
    assert by_suffix(f"folder/{name.upper()}") == kind
    assert open_image(data).format in ENCODED_ANEW


@pytest.mark.parametrize("name", NAMES)
def test_a_file_cut_anywhere_is_an_image_error(name: str) -> None:
    data, decoder = samples()[name], Decode(frames="first", cache_bytes=0).load()
    assert decoder.full(image(data)).rgb.dtype == np.uint8
    for stop in range(0, len(data) - 2, 97):
        with pytest.raises(ImageError):
            decoder.full(image(data[:stop]))


@pytest.mark.parametrize("name", NAMES)
def test_damaged_bytes_raise_image_errors_only(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    """Warnings are errors here, so none may escape either, and nothing is printed."""
    data, decoder = samples()[name], Decode(frames="first", cache_bytes=0, max_pixels=1_000_000).load()
    rng = np.random.default_rng(11)
    outcomes, details = {"image": 0, "error": 0}, list[str]()
    for turn in range(120):
        damaged = bytearray(data)
        for at in rng.integers(4, min(len(data), 400) if turn % 2 else len(data), 4):
            damaged[at] = rng.integers(256)
        try:
            header = decoder.header(image(bytes(damaged)))
            assert decoder.full(image(bytes(damaged))).rgb.shape == (*header.upright, 3)
            outcomes["image"] += 1
        except ImageError as error:
            details.append(error.detail)
            outcomes["error"] += 1
    assert outcomes["error"] > 0
    assert [text for text in details if "\n" in text or " at 0x" in text] == []  # an address differs from run to run
    assert capfd.readouterr() == ("", "")


def test_no_package_is_imported_before_such_an_image_is_met() -> None:
    code = f"""
import io, sys
from PIL import Image
from pipeline import build, driver
from pipeline.image.header import read_header
out = io.BytesIO()
Image.new("RGB", (8, 8)).save(out, "PNG")
read_header(out.getvalue())
assert not set({PACKAGES}) & set(sys.modules), sorted(set({PACKAGES}) & set(sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert done.returncode == 0


@pytest.mark.parametrize(
    ("name", "package", "words"),
    [
        ("heic.heic", "pillow_heif", "HEIC needs the extra heif: pip install 'segfill[heif]'"),
        ("lossy.jxl", "pillow_jxl", "JPEG XL needs the extra jxl: pip install 'segfill[jxl]'"),
        ("colour.dcm", "pydicom", "DICOM needs the extra medical: pip install 'segfill[medical]'"),
        ("first.nii", "nibabel.nifti1", "NIfTI needs the extra medical: pip install 'segfill[medical]'"),
    ],
)
def test_a_missing_package_is_named_with_its_extra(
    name: str, package: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in [module for module in sys.modules if module.startswith("pipeline.image.formats.")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImageError) as caught:
        open_image(samples()[name])
    assert caught.value.reason == "format_not_allowed"
    assert caught.value.detail.startswith(words)


def test_every_format_has_a_family_and_its_extra_is_that_of_its_kind() -> None:
    assert set(formats._FAMILIES) == set(ENCODED_ANEW)
    extras = {kind.name: kind.extra for kind in KINDS}
    assert all(extras[name] == extra for _, name, extra in formats._FAMILIES.values())
    assert formats.opener("PNG") is None
