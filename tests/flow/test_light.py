"""The jobs with their defaults never import torch or transformers: workers stay small and need neither installed."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.fakes.drawn_images import folder_of

SCRIPT = """
import sys
from jobs.entry import main
code = main(sys.argv[1], [f"source.uri={sys.argv[2]}", f"sink.uri={sys.argv[3]}", "execute=local"])
heavy = {"torch", "transformers", "safetensors", "diffusers", "torchvision"} & set(sys.modules)
sys.exit(f"imported {heavy}" if heavy else code)
"""


@pytest.mark.parametrize("job", ["annotate", "anonymize"])
def test_the_default_path_imports_no_torch(job: str, tmp_path: Path) -> None:
    source = folder_of(tmp_path / "in", range(1))
    command = [sys.executable, "-c", SCRIPT, job, str(source), str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "_run" / "SUCCESS.json").exists()


@pytest.mark.parametrize("module", ["pipeline.fill.diffusion.fill"])
def test_a_family_in_its_cold_form_imports_no_torch(module: str) -> None:
    """A driver, and a worker with other stages, only read its config."""
    script = f"import sys, {module}; sys.exit(str({{'torch', 'transformers', 'diffusers'}} & set(sys.modules) or ''))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr.strip() == ""
