"""Frames of films, and formats beyond Pillow's, through every executor."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.fakes.format_samples import dicom, heic, jxl, nifti, saved
from tests.fakes.job_run import run
from tests.fakes.metadata_samples import photo
from tests.fakes.published_output import published, totals

OPTIONS = ["source.unit_images=3", "chunk=2", "audit=none", "sink=files", "decode.frames=all", "max_reject_share=1"]


@pytest.mark.usefixtures("ray_here")
@pytest.mark.promise("local, fused and staged write the same bytes")
def test_local_fused_and_staged_write_the_same_bytes_of_frames(tmp_path: Path) -> None:
    face = photo().crop((96, 0, 352, 256))
    first, *others = (Image.fromarray(np.asarray(face)[:, ::step].copy()) for step in (1, -1, 1))
    source = tmp_path / "in"
    source.mkdir()
    film = {"save_all": True, "append_images": others}
    files = {
        "a.gif": saved(first, "GIF", **film),
        "b.webp": saved(first.copy(), "WEBP", quality=80, **film),
        "c.tif": saved(Image.fromarray(np.asarray(first)), "TIFF", **film),
        "d.heic": heic(first, *others, quality=80),
        "e.jxl": jxl(np.asarray(face)),
        "f.dcm": dicom(np.asarray(face)),
        "g.nii": nifti(np.asarray(face.convert("L"))[..., None].repeat(2, 2)),
        "h.jp2": saved(face, "JPEG2000"),
        "i.png": saved(first.copy(), "PNG", **film)[:4000],
    }
    for name, data in files.items():
        (source / name).write_bytes(data)
    outputs = {}
    for executor in ("local", "ray", "staged"):
        out = tmp_path / executor
        run("anonymize", source, out, *OPTIONS, f"execute={executor}", "segment.faces.thorough=false")
        outputs[executor] = published(str(out))
        assert totals(str(out))["images"] == 12 + 3 + 2 + 3  # the cut film still says how many frames it has
        assert totals(str(out))["written"] >= 12
    assert outputs["ray"] == outputs["local"]
    assert outputs["staged"] == outputs["local"]
