from __future__ import annotations

import io

import numpy as np
import pytest
import tifffile
from PIL import Image

from pipeline.image.header import open_image, read_header
from tests.fakes import metadata_samples
from tests.fakes.filled_images import disc, item, one, rendered


@pytest.mark.parametrize("fmt", ["JPEG", "PNG", "TIFF", "BMP"])
@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("region", [False, True])
def test_the_resolution_stays_unless_the_run_is_private(fmt: str, orientation: int, region: bool) -> None:
    options: dict[str, object] = {"exif": metadata_samples.exif(orientation)} if fmt != "BMP" else {}
    data = metadata_samples.saved(Image.fromarray(np.asarray(metadata_samples.small())), fmt, dpi=(300, 150), **options)
    mask = disc(*read_header(data).upright) if region else None
    across, down = (300, 150) if orientation == 1 or fmt == "BMP" else (150, 300)
    found = open_image(one(rendered(item(data, mask)))).info["dpi"]
    assert np.abs(np.subtract(found, (across, down))).max() < 0.1
    private = one(rendered(item(data, mask), private=True))
    assert metadata_samples.SECRET not in private
    if fmt == "PNG" or region or (orientation != 1 and fmt != "BMP"):
        assert np.abs(np.subtract(open_image(private).info.get("dpi", (0, 0)), (across, down))).max() > 10


@pytest.mark.parametrize("dpi", [(0, 0), (1e9, 1e9), (float("nan"), 72)])
def test_a_resolution_that_cannot_be_is_dropped(dpi: tuple[float, float]) -> None:
    out = io.BytesIO()
    tags = [(282, 12, 1, dpi[0], True), (283, 12, 1, dpi[1], True)]
    tifffile.imwrite(out, np.asarray(metadata_samples.small()), photometric="rgb", metadata=None, extratags=tags)
    data = out.getvalue()
    assert rendered(item(data, disc(90, 121))).status == "written"
