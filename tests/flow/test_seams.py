"""The index holds the seam of every fill, and the report lists visible seams on request."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jobs.demo_shards import photograph
from pipeline.render.seam import seam
from tests.fakes.job_run import run
from tests.fakes.published_output import rows

MAGENTA = (255, 0, 255)


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A face that was painted magenta, and a photograph without one."""
    folder = tmp_path_factory.mktemp("seams")
    (folder / "in").mkdir()
    photograph("astronaut.png").convert("RGB").crop((100, 0, 400, 260)).save(folder / "in" / "face.png")
    photograph("coffee.png").convert("RGB").resize((300, 200)).save(folder / "in" / "none.png")
    options = ("audit=none", "segment.faces.thorough=false", "fill.colour='#ff00ff'", "review_seam=3")
    assert run("anonymize", folder / "in", folder / "out", "sink=files", "execute=local", *options).code == 0
    return folder / "out"


def test_the_seam_of_the_index_is_that_of_the_published_picture(out: Path) -> None:
    seams = {row["key"]: row["seam"] for row in rows(out)}
    with Image.open(out / "rendered" / "filled" / "face.png") as image:
        published = np.asarray(image.convert("RGB"))
    painted = (published == MAGENTA).all(axis=2)
    assert 1_000 < painted.sum() < painted.size / 2
    assert seams == {"face": seam(published, painted), "none": 0.0}
    assert seams["face"] > 3


def test_the_report_lists_it_for_review(out: Path) -> None:
    page = (out / "report" / "index.html").read_text()
    review = page.partition("<h2>Visible seams, for review</h2>")[2].partition("</section>")[0]
    assert "1 of 1 filled images have a seam above 3" in review
    assert review.count("<img") == 3
