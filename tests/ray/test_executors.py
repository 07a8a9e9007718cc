"""Local, fused and staged write the same bytes; Ray ends the way a run should."""

import io
from pathlib import Path

import psutil
import pytest

from jobs.demo_shards import build as build_shards
from pipeline import build, driver
from pipeline.execute.ray_data import RayData
from pipeline.storage.store import open_store
from tests.fakes import fill_networks
from tests.fakes.published_output import published, totals

SMALL_UNITS = ["source.unit_images=4", "max_reject_share=0.2", "chunk=3", "audit=none"]
ONCE = "segment.faces.thorough=false"
"""A sixth of the time, where what is tested does not depend on it."""


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo")
    build_shards(folder)
    return folder


@pytest.fixture(scope="module")
def ray_here(s3):  # type: ignore[no-untyped-def]
    with RayData(store_mib=256).session():
        yield
    assert not [p for p in psutil.Process().children(recursive=True) if "raylet" in p.name()]


def run(name: str, source: Path | str, out: Path | str, *overrides: str) -> int:
    config = build.compose(name, [f"source.uri={source}", f"sink.uri={out}", *SMALL_UNITS, *overrides])
    return driver.run(build.build(config), io.StringIO(), io.StringIO())


@pytest.mark.usefixtures("ray_here")
@pytest.mark.parametrize(
    ("name", "kind", "options"),
    [
        ("anonymize", "folder", ["sink=files"]),
        pytest.param("anonymize", "webdataset", ["sink=tar", "fill=diffuse", ONCE], marks=pytest.mark.chaos),
        ("clean", "parquet", ["sink=parquet", "render=everything", "fill=lama"]),
    ],
)
@pytest.mark.promise("local, fused and staged write the same bytes")
def test_local_fused_and_staged_write_the_same_bytes(
    name: str, kind: str, options: list[str], shards: Path, tmp_path: Path
) -> None:
    if "fill=lama" in options:
        model = fill_networks.weights(fill_networks.lama(tmp_path / "lama.onnx"))
        options = [*options, f"fill.model.uri={model.uri}", f"fill.model.sha256={model.sha256}"]
    outputs = {}
    for executor in ("local", "ray", "staged"):
        out = tmp_path / executor
        assert run(name, shards / kind, out, f"execute={executor}", *options) == 0
        outputs[executor] = published(str(out))
        assert totals(str(out))["images"] == 12
    assert len(outputs["local"]) > 3
    assert outputs["ray"] == outputs["local"]
    assert outputs["staged"] == outputs["local"]


@pytest.mark.usefixtures("ray_here")
@pytest.mark.promise("A run on S3 writes the bytes of a run on disk")
def test_a_run_from_one_bucket_into_the_same_bucket_equals_a_run_on_disk(shards: Path, tmp_path: Path, s3) -> None:  # type: ignore[no-untyped-def]
    source = s3.uri("in")
    store = open_store(source)
    for path in sorted((shards / "webdataset").iterdir()):
        store.put(path.name, path.read_bytes())
    assert run("anonymize", source, s3.uri("out"), "execute=ray", "sink=files", ONCE) == 0
    assert run("anonymize", shards / "webdataset", tmp_path / "out", "execute=local", "sink=files", ONCE) == 0
    there, here = published(s3.uri("out")), published(str(tmp_path / "out"))
    differ = {path for path in there if path.split("/")[0] in ("masks", "rendered") and there[path] != here.get(path)}
    assert not differ
    assert {path for path in there if not path.startswith("images/")} == {
        path for path in here if not path.startswith("images/")
    }
