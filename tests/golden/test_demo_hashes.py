"""The demo's published bytes are those of a recorded list: a change of names or layout changes none of them."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
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
    found = [
        hashed(path, tmp_path / "demo")
        for job in (tmp_path / "demo").iterdir()
        for folder in folders
        for path in (job / folder).rglob("*")
        if path.is_file()
    ]
    assert dict(found) == wanted


def hashed(path: Path, root: Path) -> tuple[str, str]:
    """Name and hash of a published file; of an index, without the column that tells where the source lies, and without
    the hash of all columns in its name."""
    name, content = path.relative_to(root).as_posix(), path.read_bytes()
    if path.parent.name == "images":
        name, content = (
            name.rpartition("-")[0],
            repr(pq.read_table(path).drop_columns(["image_uri"]).to_pylist()).encode(),
        )
    return name, hashlib.sha256(content).hexdigest()
