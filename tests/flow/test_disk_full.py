"""A disk that fills up in the middle of a run: a clear stop, nothing half-written under a published name, resumable."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from jobs.entry import main
from pipeline.storage.store import open_store
from tests.fakes.published_output import published, totals
from tests.fakes.terminal import but_signs

PROMISE = "A full disk ends a run with one line and nothing half-written; the same command resumes it"


@pytest.fixture(scope="module")
def shards(demo_shards: Path) -> Path:
    return demo_shards / "webdataset"


@pytest.fixture(scope="module")
def quiet(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    out = str(tmp_path_factory.mktemp("quiet") / "out")
    assert run(shards, out) == 0
    return out


def run(source: Path, out: str) -> int:
    return main(
        "anonymize",
        [
            *(f"source.uri={source}", f"sink.uri={out}", "source.unit_images=2", "sink=files", "execute=local"),
            *("max_reject_share=0.2", "segment.faces.thorough=false"),
        ],
    )


@contextmanager
def tmpfs(folder: Path, kib: int) -> Iterator[None]:
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={kib}k", "tmpfs", folder], capture_output=True)
    if done.returncode:
        pytest.skip("this user may not mount a tmpfs")
    try:
        yield
    finally:
        subprocess.run(["umount", folder], check=True)


def stopped(out: str, quiet: str, said: str) -> None:
    """Check the output of a run that met a full disk."""
    last = said.splitlines()[-1]
    assert last.startswith("anonymize: "), said
    assert out in last
    assert "make room there" in last
    assert "the same command resumes" in last
    assert "Traceback" not in said
    assert published(out).items() <= published(quiet).items()
    assert not [name for _, _, names in os.walk(out) for name in names if name.endswith(".tmp")]


@pytest.mark.parametrize("kib", [300, *(pytest.param(kib, marks=pytest.mark.chaos) for kib in range(60, 460, 40))])
@pytest.mark.promise(PROMISE)
def test_a_full_disk_stops_the_run_and_with_more_room_it_goes_on(
    kib: int, shards: Path, quiet: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with tmpfs(tmp_path / "disk", kib):
        out = str(tmp_path / "disk" / "out")
        assert run(shards, out) == 1
        stopped(out, quiet, capsys.readouterr().err)
        stood = len(open_store(out).list("_commit"))
        assert stood < len(open_store(quiet).list("_commit"))
        subprocess.run(["mount", "-o", "remount,size=64m", tmp_path / "disk"], check=True)
        assert run(shards, out) == 0
        assert ("resuming" in capsys.readouterr().out) == (stood > 0)
        assert published(out) == published(quiet)
        assert totals(out) == totals(quiet)


@pytest.mark.promise(PROMISE)
def test_a_file_that_may_not_grow_stops_the_run_and_without_the_limit_it_goes_on(
    shards: Path, quiet: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "out")
    largest = max(info.size for info in open_store(quiet).list("rendered"))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest - 1, limits[1]))
    try:
        code, said = run(shards, out), capsys.readouterr().err
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert code == 1, said
    stopped(out, quiet, said)
    assert run(shards, out) == 0
    assert published(out) == published(quiet)
    assert totals(out) == totals(quiet)


@pytest.mark.parametrize("part", ["report", "_previews"])
@pytest.mark.promise(PROMISE)
def test_a_report_that_cannot_be_written_ends_in_one_line(
    part: str, shards: Path, quiet: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = Path(shutil.copytree(quiet, tmp_path / "out"))
    held = (out / part).rename(tmp_path / "held")
    shutil.rmtree(out / "report", ignore_errors=True)
    (out / part).write_bytes(b"in the way")
    assert run(shards, str(out)) == 1
    said = capsys.readouterr().err
    assert said.startswith("anonymize: "), said
    assert str(out / part) in said
    assert "the same command resumes" in said
    assert len(but_signs(said)) == 1, said
    (out / part).unlink()
    if part != "report":
        held.rename(out / part)
    assert run(shards, str(out)) == 0
    assert (out / "report" / "index.html").read_bytes()
    assert published(str(out)) == published(quiet)
