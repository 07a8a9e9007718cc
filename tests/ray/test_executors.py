"""Every executor writes the same bytes; Ray ends with the run."""

from pathlib import Path

import pytest

from pipeline.storage.store import open_store
from tests.fakes import fill_networks
from tests.fakes.job_run import run
from tests.fakes.published_output import published, totals
from tests.fakes.s3_server import S3

SMALL_UNITS = ["source.unit_images=4", "max_reject_share=0.2", "chunk=3", "audit=none"]
ONCE = "segment.faces.thorough=false"
"""Takes a sixth of the time; for tests that do not depend on recall."""


@pytest.mark.usefixtures("ray_here")
@pytest.mark.parametrize(
    ("name", "kind", "options"),
    [
        ("anonymize", "folder", ["sink=files"]),
        pytest.param("anonymize", "webdataset", ["sink=tar", "fill=diffuse", ONCE], marks=pytest.mark.chaos),
        ("clean", "parquet", ["sink=parquet", "render=everything", "fill=lama"]),
    ],
)
@pytest.mark.promise("local, processes, fused and staged write the same bytes")
def test_every_executor_writes_the_same_bytes(
    name: str, kind: str, options: list[str], demo_shards: Path, tmp_path: Path
) -> None:
    if "fill=lama" in options:
        model = fill_networks.weights(fill_networks.lama(tmp_path / "lama.onnx"))
        options = [*options, f"fill.model.uri={model.uri}", f"fill.model.sha256={model.sha256}"]
    outputs = {}
    for executor in ("local", "processes", "ray", "staged"):
        out = tmp_path / executor
        assert run(name, demo_shards / kind, out, *SMALL_UNITS, f"execute={executor}", *options).code == 0
        outputs[executor] = published(str(out))
        assert totals(str(out))["images"] == 12
    assert len(outputs["local"]) > 3
    assert outputs["processes"] == outputs["local"]
    assert outputs["ray"] == outputs["local"]
    assert outputs["staged"] == outputs["local"]


@pytest.mark.usefixtures("ray_here")
@pytest.mark.promise("A run on S3 writes the bytes of a run on disk")
def test_a_run_from_one_bucket_into_the_same_bucket_equals_a_run_on_disk(
    demo_shards: Path, tmp_path: Path, s3: S3
) -> None:
    source = s3.uri("in")
    store = open_store(source)
    for path in sorted((demo_shards / "webdataset").iterdir()):
        store.put(path.name, path.read_bytes())
    options = (*SMALL_UNITS, "sink=files", ONCE)
    assert run("anonymize", source, s3.uri("out"), "execute=ray", *options).code == 0
    assert run("anonymize", demo_shards / "webdataset", tmp_path / "out", "execute=local", *options).code == 0
    there, here = published(s3.uri("out")), published(str(tmp_path / "out"))
    differ = {path for path in there if path.split("/")[0] in ("masks", "rendered") and there[path] != here.get(path)}
    assert not differ
    assert {path for path in there if not path.startswith("images/")} == {
        path for path in here if not path.startswith("images/")
    }
