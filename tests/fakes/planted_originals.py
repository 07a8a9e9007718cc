"""Originals with a face, metadata and a colour that no published byte may contain."""

from pathlib import Path

import numpy as np
from PIL import Image

from tests.fakes.metadata_samples import SECRET, jpeg, photo, png, saved

COLOUR = (255, 0, 160)
"""Of squares painted on the planted face: no photograph here holds it, and no fill can invent it."""
MARKS = (SECRET, bytes(COLOUR[::-1]) * 9)


def marked() -> Image.Image:
    """The astronaut with two squares on her face that are nowhere else."""
    array = np.array(photo())
    for x, y in ((210, 85), (228, 110)):
        array[y : y + 9, x : x + 9] = COLOUR
    return Image.fromarray(array)


def plant(folder: Path) -> tuple[bytes, ...]:
    """Write three originals into a folder.

    Returns what must not appear in an output that rejects them: the metadata marker, the planted colour as a BMP stores
    it, and a piece of each pixel stream.
    """
    picture = marked().crop((96, 0, 352, 256))
    files = {"a.jpg": jpeg(picture, subsampling=0), "b.png": png(picture), "c.bmp": saved(picture, "BMP")}
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return (*MARKS, *(data[len(data) // 2 :][:48] for data in files.values()))
