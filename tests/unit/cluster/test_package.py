"""What travels to a cluster is what composed the config, and its pins are what is installed."""

import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from pipeline.cluster import package
from pipeline.errors import ConfigError
from pipeline.execute.code_version import code_version


def test_the_copy_is_clean_named_by_its_content_and_the_same_code(tmp_path: Path) -> None:
    for name in ("one", "two", "three"):
        (tmp_path / name).mkdir()
    digest = package.copy_to(tmp_path / "one")
    assert sorted(path.name for path in (tmp_path / "one").iterdir()) == ["conf", "jobs", "pipeline"]
    assert [path for path in (tmp_path / "one").rglob("*") if path.suffix == ".pyc" or path.name == "__pycache__"] == []
    assert package.copy_to(tmp_path / "two") == digest
    package.copy_to(tmp_path / "three")
    asked = "from pipeline.execute.code_version import code_version; import conf; print(code_version(), conf.FOLDER)"
    done = subprocess.run(
        [sys.executable, "-c", asked], cwd=tmp_path / "one", capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == [code_version(), str(tmp_path / "one/conf")]


def test_one_byte_more_is_another_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "own/__init__.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(package, "PACKAGES", ("own",))
    digests = []
    for number in (1, 2):
        (tmp_path / "own/a.yaml").write_text("a: 1\n" * number)
        (tmp_path / f"to{number}").mkdir()
        digests.append(package.copy_to(tmp_path / f"to{number}"))
    assert digests[0] != digests[1]


def test_pins_are_exact_installed_and_leave_out_what_nodes_have() -> None:
    pins = dict(line.split("==") for line in package.pins())
    assert {"numpy", "pillow", "pyarrow", "onnxruntime", "hydra-core", "s3fs"} <= set(pins)
    assert "omegaconf" in pins  # of hydra-core
    assert not {"ray", "segfill", "pytest", "torch"} & set(pins)
    assert pins["numpy"] == metadata.version("numpy")
    assert "torch" in dict(line.split("==") for line in package.pins(["hf"]))


def test_an_extra_that_is_not_installed_here_cannot_be_pinned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(package, "_requirements", lambda name: ["absent-package ; extra == 'x'"])
    with pytest.raises(ConfigError, match="absent-package is not installed here"):
        package.pins(["x"])
