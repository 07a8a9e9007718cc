"""Open NIfTI-1 and NIfTI-2, plain or in gzip, with nibabel: a frame for each slice along the third axis.

Of more than three axes, each volume follows the one before. Rows are the second axis and columns the first, as stored,
so that a mask's [y, x] of frame k (from 1) is voxel [x, y, k - 1]: nothing is turned by the affine. Values (scaled by
slope and intercept) are shown from `cal_min` to `cal_max` where the header gives a range, else between the 1st and the
99th percentile of the whole file, so that all slices look alike; NaN is black. RGB is kept.
"""

from __future__ import annotations

import io
import zlib
from functools import lru_cache
from math import prod
from typing import Any, Final

import numpy as np
from nibabel.nifti1 import Nifti1Header
from nibabel.nifti2 import Nifti2Header
from numpy.typing import NDArray
from PIL import ImageFile

from pipeline.errors import ImageError
from pipeline.image.formats.lazy import LazyImage
from pipeline.image.kinds import unpacked

_HEADER_BYTES: Final = 544
_LARGEST: Final = 2 << 30
"""Bytes of all voxels of a file: gzip can unpack to a thousand times its size."""
_BEHIND: Final = 1 << 20
"""Bytes that may follow the voxels."""
_SAMPLED: Final = 4_000_000
"""Voxels at most, evenly spaced, that the percentiles are taken from."""
_RGB: Final = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])


def open_bytes(data: bytes) -> ImageFile.ImageFile:
    """Open without unpacking a voxel. Raises ImageError `unsupported_mode`, `too_many_pixels`, `truncated`."""
    return NiftiImage(io.BytesIO(data))


class NiftiImage(LazyImage):
    format = "NIFTI"

    def _open(self) -> None:
        assert self.fp is not None
        self._data = self.fp.read()
        packed = self._data[:2] == b"\x1f\x8b"
        head = unpacked(self._data[: 1 << 16], _HEADER_BYTES) if packed else self._data[:_HEADER_BYTES]
        is_first = head[344:348] == b"n+1\0"
        self._header = (Nifti1Header if is_first else Nifti2Header).from_fileobj(io.BytesIO(head), check=False)
        shape = tuple(int(side) for side in self._header.get_data_shape())
        if len(shape) < 2 or min(shape) < 1:
            raise ImageError("undecodable", f"expected at least two axes of at least 1 voxel, got {shape}")
        dtype = self._header.get_data_dtype()
        if dtype != _RGB and dtype.kind not in "iuf":
            raise ImageError("unsupported_mode", f"expected real numbers or RGB, got voxels of {dtype}")
        start, size = int(self._header.get_data_offset()), prod(shape) * dtype.itemsize
        if size > _LARGEST:
            raise ImageError("too_many_pixels", f"expected at most {_LARGEST} bytes of voxels, got {size}")
        if not 0 <= start <= _LARGEST:
            raise ImageError("undecodable", f"expected voxels behind the header, got byte {start}")
        self._stop = start + size
        self._size, self._mode = (shape[0], shape[1]), "RGB" if dtype == _RGB else "L"
        self.n_frames = prod(shape[2:])

    def pixels(self, frame: int) -> NDArray[Any]:
        header = self._header
        dtype = header.get_data_dtype()
        start = int(header.get_data_offset())
        content = _content(self._data, self._stop)
        if len(content) < self._stop:
            raise ImageError("truncated", f"expected {self._stop} bytes, got {len(content)}")
        width, height = self.size
        stored = np.frombuffer(content, dtype, (self._stop - start) // dtype.itemsize, start)
        picture = stored[frame * width * height : (frame + 1) * width * height].reshape(height, width)
        if dtype == _RGB:
            return picture.view(np.uint8).reshape(height, width, 3)
        slope, intercept = _scaling(header)
        black, white = float(header["cal_min"]), float(header["cal_max"])
        if not (np.isfinite([black, white]).all() and black < white):
            black, white = (end * slope + intercept for end in _percentiles(content, start, dtype.str, len(stored)))
        low, high = min(black, white), max(black, white)
        with np.errstate(all="ignore"):
            shown = (picture.astype(np.float64) * slope + intercept - low) / ((high - low) or 1.0)
            shown = np.clip(np.nan_to_num(shown, nan=0.0), 0.0, 1.0)
        return np.rint(shown * 255.0).astype(np.uint8)


def _scaling(header: Any) -> tuple[float, float]:
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    return (slope, intercept) if np.isfinite([slope, intercept]).all() and slope else (1.0, 0.0)


@lru_cache(maxsize=1)  # the slices of a file come one after the other
def _content(data: bytes, stop: int) -> bytes:
    """The file's first `stop` bytes, unpacked; fewer when it is cut. The checksum of gzip stands at the end."""
    if data[:2] != b"\x1f\x8b":
        return data[:stop]
    stream = zlib.decompressobj(zlib.MAX_WBITS | 16)
    content = stream.decompress(data, stop)
    stream.decompress(stream.unconsumed_tail, _BEHIND)
    return content if stream.eof else b""


@lru_cache(maxsize=1)
def _percentiles(content: bytes, start: int, dtype: str, count: int) -> tuple[float, float]:
    sample = np.frombuffer(content, dtype, count, start)[:: -(-count // _SAMPLED)].astype(np.float64)
    finite = sample[np.isfinite(sample)]
    if not finite.size:
        raise ImageError("not_finite", "expected finite numbers, got only NaN and infinity in the voxels")
    low, high = np.percentile(finite, (1, 99))
    return float(low), float(high)
