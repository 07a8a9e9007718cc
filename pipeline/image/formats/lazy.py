"""The base of images whose pixels another library decodes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile


class LazyImage(ImageFile.ImageFile):
    """Decodes when Pillow wants the pixels.

    A subclass sets `format` and, in `_open`, `_size` and `_mode` from the header and `n_frames`; `pixels` decodes.
    """

    n_frames = 1
    _frame = 0
    _shown = -1
    """Frame whose pixels are loaded."""

    def pixels(self, frame: int) -> NDArray[Any]:
        """Return frame `frame`, counted from 0: HW or HWC uint8, HW uint16 or HW float32, of the mode's channels."""
        raise NotImplementedError

    def seek(self, frame: int) -> None:
        if not 0 <= frame < self.n_frames:
            raise EOFError(f"expected a frame from 0 to {self.n_frames - 1}, got {frame}")
        self._frame = frame

    def tell(self) -> int:
        return self._frame

    def load(self) -> Any:
        if self._shown != self._frame:
            picture = Image.fromarray(np.ascontiguousarray(self.pixels(self._frame)))
            self.im, self._mode, self._size = picture.im, picture.mode, picture.size
            self._shown = self._frame
        return super().load()
