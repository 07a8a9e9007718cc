"""Open DICOM (PS3.3, PS3.5) with pydicom: pixel data, as a viewer shows it first.

Grey values go through the modality LUT (rescale), then through the file's first window, or its VOI LUT, or else from
the lowest to the highest value of the frame; MONOCHROME1 is turned, so that white is high. Palettes and YBR become RGB.
What lies outside the window is neither seen by a model nor published. No element of the header reaches an output:
neither Pillow's `info` nor anything else of this module holds one. Overlay planes are not drawn.
"""

from __future__ import annotations

import io
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import ImageFile
from pydicom import config, dcmread
from pydicom.dataset import FileDataset
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut, apply_voi
from pydicom.pixels.utils import pixel_array
from pydicom.uid import DeflatedExplicitVRLittleEndian

from pipeline.errors import ImageError
from pipeline.image.formats.lazy import LazyImage

config.settings.reading_validation_mode = config.IGNORE  # values that break the rules of their type are not pixels
_DEFLATED: Final = DeflatedExplicitVRLittleEndian.encode()
_GREY: Final = ("MONOCHROME1", "MONOCHROME2")
_NEEDED: Final = ("Rows", "Columns", "PhotometricInterpretation", "BitsStored")


def open_bytes(data: bytes) -> ImageFile.ImageFile:
    """Open without decoding a pixel. Raises ImageError `unsupported_mode`, `undecodable`, and what pydicom raises."""
    return DicomImage(io.BytesIO(data))


class DicomImage(LazyImage):
    format = "DICOM"

    def _open(self) -> None:
        assert self.fp is not None
        if _DEFLATED in self.fp.read():
            raise ImageError("unsupported_mode", "a deflated DICOM could unpack to any size: write it uncompressed")
        self.fp.seek(0)
        self._dataset = dataset = dcmread(self.fp)
        missing = [name for name in _NEEDED if dataset.get(name) is None]
        if "PixelData" not in dataset or missing:
            raise ImageError(
                "undecodable", f"expected a DICOM with an image, got one without {missing or 'pixel data'}"
            )
        self._size = int(dataset.Columns), int(dataset.Rows)
        self._mode = "L" if dataset.PhotometricInterpretation in _GREY else "RGB"
        self.n_frames = max(1, int(dataset.get("NumberOfFrames") or 1))

    def pixels(self, frame: int) -> NDArray[Any]:
        dataset = self._dataset
        values = pixel_array(dataset, index=frame)
        if self._mode == "L":
            return _windowed(values, dataset)
        if dataset.PhotometricInterpretation == "PALETTE COLOR":
            values = apply_color_lut(values, dataset)
        bits = 8 * values.dtype.itemsize if "PALETTE" in dataset.PhotometricInterpretation else int(dataset.BitsStored)
        if values.dtype.kind != "u" or not 8 <= bits <= 16 or values.ndim != 3 or values.shape[2] != 3:
            raise ImageError("unsupported_mode", f"expected RGB of 8 to 16 bits, got {values.dtype} {values.shape}")
        return np.asarray(values >> (bits - 8), np.uint8)


def _windowed(values: NDArray[Any], dataset: FileDataset) -> NDArray[np.uint8]:
    """Scale HW stored values to HW uint8 as they are shown."""
    modal = np.asarray(apply_modality_lut(values, dataset), np.float64)
    if not np.isfinite(modal).all():
        raise ImageError("not_finite", "expected finite numbers, got NaN or infinity after the modality LUT")
    if dataset.get("WindowCenter") is not None and dataset.get("WindowWidth") is not None:
        shown = _in_window(modal, _first(dataset.WindowCenter), _first(dataset.WindowWidth), dataset)
    elif dataset.get("VOILUTSequence"):
        shown = np.asarray(apply_voi(modal.astype(np.int32), dataset), np.float64)
        shown /= (1 << int(dataset.VOILUTSequence[0].LUTDescriptor[2])) - 1
    else:
        lowest, highest = float(modal.min()), float(modal.max())
        shown = (modal - lowest) / ((highest - lowest) or 1.0)
    grey = np.rint(np.clip(shown, 0.0, 1.0) * 255.0).astype(np.uint8)
    return 255 - grey if dataset.PhotometricInterpretation == "MONOCHROME1" else grey


def _in_window(values: NDArray[np.float64], centre: float, width: float, dataset: FileDataset) -> NDArray[np.float64]:
    """0..1 by the function of PS3.3 C.11.2.1.2 and C.11.2.1.3."""
    function = str(dataset.get("VOILUTFunction") or "LINEAR")
    if function == "SIGMOID" and width > 0:
        return np.asarray(1.0 / (1.0 + np.exp(-4.0 * (values - centre) / width)))
    if function == "LINEAR_EXACT" and width > 0:
        return (values - centre) / width + 0.5
    if function != "LINEAR" or width < 1:
        raise ImageError("undecodable", f"expected a window wider than 0, got {function} of width {width:g}")
    if width == 1:
        return (values > centre - 0.5).astype(np.float64)
    return (values - (centre - 0.5)) / (width - 1.0) + 0.5


def _first(value: Any) -> float:
    return float(value if isinstance(value, str) or not hasattr(value, "__getitem__") else value[0])
