"""execute=auto: the executor that it chooses."""

import subprocess
import sys

import pytest

from pipeline.execute import auto
from pipeline.execute.auto import Auto
from pipeline.execute.processes import Processes
from tests.fakes.specs import preset


def test_a_machine_without_a_gpu_gets_processes_with_the_same_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auto, "has_gpu", lambda: False)
    chosen = Auto(cpus=3, threads=2, image_seconds=7.0, image_mib=9, readers=2).chosen()
    assert chosen == Processes(workers=3, readers=2, threads=2, image_seconds=7.0, image_mib=9)
    assert Auto(cpus=3, workers=2).chosen() == Processes(workers=2)


@pytest.mark.slow  # it imports Ray
def test_a_gpu_or_an_address_gets_ray_with_the_same_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline.execute.ray_data import RayData

    monkeypatch.setattr(auto, "has_gpu", lambda: True)
    assert Auto(gpus=0.5, units=3).chosen() == RayData(layout="auto", gpus=0.5, units=3)
    monkeypatch.setattr(auto, "has_gpu", lambda: False)
    assert Auto(address="127.0.0.1:6379").chosen() == RayData(layout="auto", address="127.0.0.1:6379")


def test_a_hidden_gpu_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    for hidden in ("", "-1"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
        assert not auto.has_gpu()


def test_the_default_loads_no_ray() -> None:
    code = (
        "import sys; from pipeline import build\n"
        "build.build(build.compose('clean', ['source.uri=in', 'sink.uri=out'])).executor.chosen()\n"
        "assert 'ray' not in sys.modules, 'ray was imported'"
    )
    environment = {"CUDA_VISIBLE_DEVICES": "", "PATH": ""}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)


def test_the_preset_has_the_defaults_of_its_fields() -> None:
    assert preset("execute", "auto") == Auto()
