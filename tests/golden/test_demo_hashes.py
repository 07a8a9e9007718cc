"""The demo's published bytes are those of a recorded list: a change of names or layout changes none of them."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LIST = Path(__file__).with_name("demo.sha256")


def features() -> str:
    """What decides the last bits of a network's numbers, as the first line of the list has it."""
    cpu = Path("/proc/cpuinfo")
    flags = cpu.read_text() if cpu.exists() else ""
    return f"# avx512: {'yes' if 'avx512f' in flags else 'no'}"


@pytest.mark.chaos
def test_the_demo_writes_the_bytes_of_the_list(tmp_path: Path) -> None:
    first, *lines = LIST.read_text().splitlines()
    if first != features():
        pytest.skip(f"the list is of a processor with {first}, this one has {features()}")
    subprocess.run(
        [sys.executable, "-m", "jobs.demo", "demo"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=True,
    )
    wanted = {path: digest for digest, path in (line.split("  ", 1) for line in lines)}
    folders = ("_previews", "images", "masks", "rendered")
    found = {
        path.relative_to(tmp_path / "demo").as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for job in (tmp_path / "demo").iterdir()
        for folder in folders
        for path in (job / folder).rglob("*")
        if path.is_file()
    }
    assert found == wanted
