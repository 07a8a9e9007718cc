"""The staged layout: several units in one call of a model, scaled pools, and the bytes of a plain loop."""

from pathlib import Path

import pytest

from pipeline.errors import ConfigError
from pipeline.execute.ray_data import RayData
from tests.fakes.drawn_images import folder_of
from tests.fakes.job_run import run
from tests.fakes.published_output import index, published, totals
from tests.fakes.specs import made

COMMON = ("audit=none", "plugins=[tests]")


def most_at_once(log: Path) -> int:
    return max(int(line) for line in log.read_text().split())


@pytest.mark.usefixtures("ray_here")
@pytest.mark.promise("local, processes, fused and staged write the same bytes")
def test_an_actor_that_holds_several_units_shows_the_model_all_and_writes_the_same_bytes(tmp_path: Path) -> None:
    """12 images in units of 2: the model sees up to 6 at once, and an image that it refuses affects no other."""
    source, log = folder_of(tmp_path / "in", range(12)), tmp_path / "log"
    (source / "broken.png").write_bytes(b"no image")
    faces = ["segment.faces._target_=tests.fakes.slow_stages.SlowFaces", f"+segment.faces.log={log}"]
    common = [*faces, "source.unit_images=2", "max_reject_share=0.2"]
    assert run("anonymize", source, tmp_path / "local", *COMMON, "execute=local", *common).code == 0
    assert most_at_once(log) == 2
    staged = ["execute=staged", "execute.units=3", "execute.segment_actors=[1,2]", "execute.fill_actors=[1,1]"]
    assert run("anonymize", source, tmp_path / "staged", *COMMON, *staged, *common).code == 0
    assert 4 <= most_at_once(log) <= 6
    assert published(str(tmp_path / "staged")) == published(str(tmp_path / "local"))
    assert totals(str(tmp_path / "staged")) == {"images": 13, "written": 12, "unchanged": 0, "rejected": 1}
    assert not list((tmp_path / "staged").glob("_attempt/*"))


@pytest.mark.usefixtures("ray_here")
@pytest.mark.promise("A broken link is a row with its reason, however the run is executed")
def test_what_the_listing_tells_reaches_the_readers(tmp_path: Path) -> None:
    source = folder_of(tmp_path / "in", range(2))
    (source / "gone.png").symlink_to(tmp_path / "nowhere.png")
    faces = ["segment.faces._target_=tests.fakes.slow_stages.SlowFaces", "max_reject_share=0.5"]
    for executor in ("local", "ray"):
        assert run("anonymize", source, tmp_path / executor, *COMMON, f"execute={executor}", *faces).code == 0
        assert index(tmp_path / executor)["gone.png"]["reason"] == "dangling_link"
    assert published(str(tmp_path / "ray")) == published(str(tmp_path / "local"))


@pytest.mark.parametrize("size", [-1, 1.5, "2,8", (2,), (3, 2), (0, 2), (1, 2, 3), True])
def test_an_invalid_pool_size_is_refused(size: object) -> None:
    with pytest.raises(ConfigError, match=r"execute\.segment_actors: expected .*, got "):
        made("execute", RayData, segment_actors=size)


def test_units_are_at_least_one() -> None:
    with pytest.raises(ConfigError, match=r"execute\.units: expected a whole number of at least 1, got 0"):
        made("execute", RayData, units=0)
