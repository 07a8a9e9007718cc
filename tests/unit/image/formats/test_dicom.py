"""DICOM: values as a viewer shows them, and nothing of the header."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence

from pipeline.errors import ImageError
from pipeline.image.header import open_image, read_header, undecodable
from tests.fakes.format_samples import dicom, noise, saved

RAMP = np.arange(4096, dtype=np.uint16).reshape(64, 64)


def pixels(data: bytes, frame: int = 0) -> NDArray[Any]:
    return np.asarray(open_image(data, frame))


def test_colours_are_those_that_were_stored() -> None:
    picture = noise()
    header = read_header(dicom(picture))
    assert (header.format, header.mode, header.bits, header.upright) == ("DICOM", "RGB", 8, (37, 53))
    assert np.array_equal(pixels(dicom(picture)), picture)
    assert np.array_equal(pixels(dicom(picture, syntax=uid.RLELossless)), picture)


def test_a_palette_becomes_rgb() -> None:
    colours = noise(1, 256)[0].astype(np.uint16) << 8
    tables: dict[str, Any] = {
        f"{name}PaletteColorLookupTable{part}": value
        for channel, name in enumerate(("Red", "Green", "Blue"))
        for part, value in (("Descriptor", [256, 0, 16]), ("Data", colours[:, channel].tobytes()))
    }
    places = noise(channels=1)
    data = dicom(places, PhotometricInterpretation="PALETTE COLOR", **tables)
    assert np.array_equal(pixels(data), (colours >> 8)[places])


def test_a_jpeg_inside_becomes_rgb() -> None:
    picture = Image.fromarray(np.kron(noise(5, 7), np.ones((8, 8, 1), np.uint8)))
    jpeg = saved(picture, "JPEG", quality=95)
    data = dicom(
        np.asarray(picture),
        syntax=uid.JPEGBaseline8Bit,
        PhotometricInterpretation="YBR_FULL_422",
        PixelData=encapsulate([jpeg]),
    )
    assert np.abs(pixels(data).astype(int) - np.asarray(Image.open(io.BytesIO(jpeg)))).mean() < 1


@pytest.mark.parametrize(
    ("elements", "expected"),
    [
        ({"WindowCenter": 2048, "WindowWidth": 4096}, (RAMP - 2047.5) / 4095 + 0.5),
        ({"WindowCenter": 1000, "WindowWidth": 200}, (RAMP - 999.5) / 199 + 0.5),
        ({"WindowCenter": [1000, 5], "WindowWidth": [200, 9]}, (RAMP - 999.5) / 199 + 0.5),
        ({"WindowCenter": 1000, "WindowWidth": 1}, (RAMP > 999.5) * 1.0),
        ({"WindowCenter": 1000, "WindowWidth": 200, "VOILUTFunction": "LINEAR_EXACT"}, (RAMP - 1000.0) / 200 + 0.5),
        (
            {"WindowCenter": 1000, "WindowWidth": 200, "VOILUTFunction": "SIGMOID"},
            1 / (1 + np.exp(-4 * (RAMP - 1000.0) / 200)),
        ),
        (
            {"WindowCenter": 40, "WindowWidth": 400, "RescaleSlope": 1, "RescaleIntercept": -1024},
            (RAMP - 1024.0 - 39.5) / 399 + 0.5,
        ),
        ({}, RAMP / 4095),
    ],
)
def test_grey_values_go_through_the_window(elements: dict[str, Any], expected: NDArray[np.float64]) -> None:
    data = dicom(RAMP, BitsStored=12, **elements)
    assert read_header(data).mode == "L"
    shown = np.rint(np.clip(expected, 0, 1) * 255)
    assert np.array_equal(pixels(data), shown)
    inverted = dicom(RAMP, BitsStored=12, PhotometricInterpretation="MONOCHROME1", **elements)
    assert np.array_equal(pixels(inverted), 255 - shown)


def test_a_voi_lut_is_applied_where_there_is_no_window() -> None:
    table = Dataset()
    table.LUTDescriptor = [4096, 0, 12]
    table.LUTData = (4095 - np.arange(4096)).astype(np.uint16).tobytes()
    table["LUTData"].VR = "OW"
    data = dicom(RAMP, BitsStored=12, VOILUTSequence=Sequence([table]))
    assert np.array_equal(pixels(data), np.rint((4095 - RAMP) / 4095 * 255))


def test_signed_values_and_a_constant_frame() -> None:
    signed = np.arange(-500, 524, dtype=np.int16).reshape(32, 32)
    assert np.array_equal(pixels(dicom(signed)), np.rint((signed + 500) / 1023 * 255))
    assert pixels(dicom(np.full((8, 8), 300, np.int16))).max() == 0


def test_each_frame_is_read_alone() -> None:
    frames = np.stack([noise(seed=seed) for seed in range(3)])
    data = dicom(frames, frames=3)
    assert read_header(data).frames == 3
    for number in range(3):
        assert np.array_equal(pixels(data, number + 1), frames[number])


def test_no_element_of_the_header_reaches_the_image() -> None:
    data = dicom(noise())
    assert b"PLANTED-SECRET" in data
    assert open_image(data).info == {}


@pytest.mark.parametrize(
    ("data", "reason", "word"),
    [
        (dicom(RAMP, WindowCenter=5, WindowWidth=0), "undecodable", "window"),
        (dicom(noise()[:, :, 0].copy(), PhotometricInterpretation="RGB"), "unsupported_mode", "RGB"),
    ],
)
def test_what_cannot_be_shown_has_a_reason(data: bytes, reason: str, word: str) -> None:
    with pytest.raises(ImageError, match=word) as caught, undecodable("pixels"):
        open_image(data).load()
    assert caught.value.reason == reason


def test_a_deflated_file_is_refused_unopened() -> None:
    data = dicom(noise())
    at = data.index(uid.ExplicitVRLittleEndian.encode())
    deflated = data[:at] + uid.DeflatedExplicitVRLittleEndian.encode() + data[at + 20 :]
    with pytest.raises(ImageError, match="deflated"):
        open_image(deflated)
