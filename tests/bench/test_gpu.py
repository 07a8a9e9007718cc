"""The GPU benchmark's arithmetic, and its message where there is no GPU."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.bench import gpu
from tests.bench.gpu_cases import CASES
from tests.bench.lama_sized import lama_sized


def test_what_is_before_the_first_commit_is_no_part_of_the_speed(tmp_path: Path) -> None:
    (tmp_path / "_commit").mkdir()
    for number, moment in enumerate((100.0, 101.0, 104.0)):
        path = tmp_path / "_commit" / f"{number}.json"
        path.write_text(json.dumps({"counts": {"images": 10}}))
        os.utime(path, (moment, moment))
    assert gpu.steady_speed(tmp_path) == (5.0, 100.0, 104.0)
    (tmp_path / "_commit" / "0.json").unlink()
    (tmp_path / "_commit" / "1.json").unlink()
    with pytest.raises(RuntimeError, match="expected at least two units, got 1"):
        gpu.steady_speed(tmp_path)


def test_a_card_has_one_section_and_the_rest_of_the_page_stays() -> None:
    rows: dict[str, gpu.Row] = {
        "segformer_b0_512": {"bare": 100.0, "local": 50.0, "ray": 92.0, "busy_ray": 0.875, "decode": 0.02, "cpu": 0.05},
        "unet_512": {"bare": 10.0, "local": 5.0},
        "lama_512": {"skipped": "no CUDA"},
    }
    first = gpu.section("Card A", rows)
    assert "| SegFormer-B0 at 512 x 512 | 100.0 | 50.0 | 0.50 | - | 92.0 | 0.92 | 88% | 2.0 | 5.0 |" in first
    assert "| a fill of LaMa's size | no CUDA |" in first
    assert "1 of 2 reach 0.9" in first
    page = "# Benchmarks\n\n## Notes\n\nA note.\n"
    both = gpu.written(gpu.written(page, "Card A", first), "Card B", gpu.section("Card B", {}))
    again = gpu.written(both, "Card A", gpu.section("Card A", {}))
    assert again.startswith(page)
    assert [line for line in again.splitlines() if line.startswith("## ")] == [
        "## Notes", "## GPU: Card A", "## GPU: Card B",
    ]  # fmt: skip
    assert "100.0" in both
    assert "100.0" not in again
    assert gpu.written(both, "Card B", gpu.section("Card B", {})) == both


def test_without_a_gpu_it_says_so_and_writes_nothing(tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    page = tmp_path / "page.md"
    command = [sys.executable, "-m", "tests.bench.gpu", "--out", str(page)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 1
    assert done.stderr.strip().endswith("torch finds no GPU here; --device cpu --tiny tries the benchmark itself")
    assert not page.exists()


def test_the_cases_are_those_that_were_asked_for() -> None:
    assert [case.name for case in CASES] == [
        "segformer_b0_512", "segformer_b0_1024", "segformer_b5_512", "segformer_b5_1024", "unet_512", "lama_512",
        "sd_512",
    ]  # fmt: skip


@pytest.mark.chaos
def test_the_network_of_lamas_size_has_its_parameters_and_answers_grey_with_grey(tmp_path: Path) -> None:
    import numpy as np
    import onnx
    import onnxruntime as ort

    file = lama_sized(tmp_path / "lama.onnx")
    sizes = [np.prod(tensor.dims) for tensor in onnx.load(file).graph.initializer]
    assert 45e6 < sum(sizes) < 60e6
    image, mask = np.full((1, 3, 512, 512), 0.5, np.float32), np.zeros((1, 1, 512, 512), np.float32)
    session = ort.InferenceSession(file, providers=["CPUExecutionProvider"])
    (answer,) = session.run(None, {"image": image, "mask": mask})
    assert answer.shape == (1, 3, 512, 512)
    assert 16 < answer.mean() < 1000


@pytest.mark.chaos
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", [case.name for case in CASES])
def test_every_case_runs_on_the_cpu_and_without_ray(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)  # as if it were not installed
    monkeypatch.delitem(sys.modules, "pipeline.execute.ray_data", raising=False)
    into = tmp_path / "row.json"
    gpu.one(name, "cpu", tiny=True, ray=False, into=into)
    row = json.loads(into.read_text())
    assert all(row[key] > 0 for key in ("bare", "local", "decode", "cpu")), row
