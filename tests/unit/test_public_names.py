"""What a plugin may import: every public name is there, and importing the package itself brings nothing heavy."""

import subprocess
import sys

import pytest

import pipeline

HEAVY = ("cv2", "torch", "onnxruntime", "onnx", "numpy", "pyarrow", "hydra", "ray")


@pytest.mark.parametrize("name", pipeline.__all__)
def test_every_public_name_is_there(name: str) -> None:
    found = getattr(pipeline, name)
    assert getattr(found, "__module__", "pipeline.").startswith(("pipeline.", "numpy", "typing", "builtins"))


def test_another_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = pipeline.nothing


def test_all_errors_are_public() -> None:
    from pipeline import errors

    raised = {name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, Exception)}
    assert raised <= set(pipeline.__all__)


def test_importing_the_package_imports_nothing_heavy() -> None:
    script = f"import sys, pipeline; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"
