"""Open HEIC and HEIF with pillow-heif (libheif, libde265).

libheif applies the rotation, the mirror and the crop that the file declares, and ignores EXIF's orientation, as ISO
23008-12 wants it. Samples of 10 and 12 bits come with 8. Thumbnails, depth maps and gain maps are no frames: they are
never decoded.
"""

from __future__ import annotations

import io

from PIL import ImageFile
from pillow_heif import HeifImageFile, options

options.DECODE_THREADS = 1  # as all codecs here: a worker has one core


def open_bytes(data: bytes) -> ImageFile.ImageFile:
    """Open at the primary picture, without decoding it."""
    image: ImageFile.ImageFile = HeifImageFile(io.BytesIO(data))
    image.info = {key: value for key, value in image.info.items() if key == "icc_profile"}
    return image
