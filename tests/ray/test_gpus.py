"""One GPU as Ray counts it: what fits on it, and what a run does when the models cannot use it.

The machine needs none: Ray gets a declared GPU, and the models run on the CPU or find the GPU missing.
"""

from collections.abc import Iterator
from pathlib import Path

import onnxruntime as ort
import pytest
import ray

from pipeline.errors import ConfigError
from pipeline.execute.ray_cluster import hushed, on_loopback
from tests.fakes import fill_networks
from tests.fakes.drawn_images import folder_of
from tests.fakes.job_run import run
from tests.fakes.published_output import published, totals


@pytest.fixture(scope="module")
def one_gpu() -> Iterator[None]:
    with hushed(), on_loopback():
        ray.init(
            address="local", num_gpus=1, include_dashboard=False, log_to_driver=False, _node_ip_address="127.0.0.1",
            object_store_memory=256 << 20,
        )  # fmt: skip
    yield
    ray.shutdown()


COMMON = ("audit=none", "plugins=[tests]")


@pytest.mark.usefixtures("one_gpu")
@pytest.mark.promise("local, processes, fused and staged write the same bytes")
def test_both_stages_share_one_gpu_and_more_than_fits_is_refused(tmp_path: Path) -> None:
    source = folder_of(tmp_path / "in", range(8))
    model = fill_networks.weights(fill_networks.lama(tmp_path / "lama.onnx"))
    common = [
        *COMMON,
        "source.unit_images=2", "segment.faces._target_=tests.fakes.slow_stages.SlowFaces", "fill=lama",
        "fill._target_=tests.fakes.cpu_lama.AnywhereLama", f"fill.model.uri={model.uri}",
        f"fill.model.sha256={model.sha256}",
    ]  # fmt: skip
    assert run("anonymize", source, tmp_path / "local", "execute=local", *common).code == 0
    assert run("anonymize", source, tmp_path / "auto", "execute=ray", "execute.layout=auto", *common).code == 0
    assert published(str(tmp_path / "auto")) == published(str(tmp_path / "local"))
    assert totals(str(tmp_path / "auto"))["written"] == 8
    with pytest.raises(ConfigError, match=r"execute\.gpus: 3 actors of 0\.5 GPUs each do not fit on 1"):
        run("anonymize", source, tmp_path / "more", "execute=staged", "execute.segment_actors=2", *common)


@pytest.mark.usefixtures("one_gpu")
@pytest.mark.skipif("CUDAExecutionProvider" in ort.get_available_providers(), reason="this onnxruntime has CUDA")
def test_a_gpu_that_the_models_cannot_use_is_left_alone_and_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = folder_of(tmp_path / "in", range(2))
    for name, executor in (("local", ["execute=local"]), ("auto", ["execute=ray", "execute.layout=auto"])):
        assert run("annotate", source, tmp_path / name, *COMMON, *executor, "segment=[faces]").code == 0
    assert published(str(tmp_path / "auto")) == published(str(tmp_path / "local"))
    said = capsys.readouterr().err
    assert said.count("execute=auto: the GPU is not used (device cuda: onnxruntime has only") == 1
