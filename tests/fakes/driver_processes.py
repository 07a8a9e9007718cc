"""Small runs of `clean` in separate processes: start, kill, resume, compare.

Each driver is forked from a server that has everything imported, so that a run takes a fraction of a second.
"""

from __future__ import annotations

import io
import multiprocessing
import os
import sys
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path

from PIL import Image, ImageDraw

from jobs.entry import main
from pipeline.ledger import packs, verify
from pipeline.storage.store import open_store
from tests.fakes import crash_points
from tests.fakes.published_output import everything, published, totals

SHARDS, UNITS, IMAGES = 2, 6, 12
"""What `build` makes: units of two images, three in each of two tars."""
PATIENCE = 240

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["jobs.entry", "pipeline.execute.local", "tests.fakes.red_segmenter", "pandas", "s3fs"])


def build(folder: Path) -> Path:
    """Write two tars of six small pictures each: most have a red patch, one is broken."""
    folder.mkdir()
    for shard in range(SHARDS):
        with tarfile.open(folder / f"{shard}.tar", "w") as archive:
            for number in range(IMAGES // SHARDS):
                data = _picture(shard, number)
                member = tarfile.TarInfo(f"{shard}/{number}.png")
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
    return folder


def _picture(shard: int, number: int) -> bytes:
    image = Image.new("RGB", (64, 48), (30, 20 * number, 100 * shard))
    if number != 4:
        ImageDraw.Draw(image).rectangle((10 + number, 12, 30 + number, 30), (250, 10, 20))
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()[: 60 if (shard, number) == (1, 3) else None]


def arguments(source: Path, out: str, *more: str) -> list[str]:
    return [
        f"source.uri={source}",
        f"sink.uri={out}",
        "source.unit_images=2",
        "sink=files",
        "max_reject_share=0.5",
        "execute=local",
        "plugins=[tests]",
        "segment=[faces]",
        "segment.faces._target_=tests.fakes.red_segmenter.Red",
        "select=faces",
        "fill=solid",
        *more,
    ]


class Driver:
    """One running command."""

    def __init__(self, arguments: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        self._log = tempfile.NamedTemporaryFile(prefix="driver-", suffix=".log")  # noqa: SIM115
        ambient = {key: value for key, value in os.environ.items() if key.startswith(("AWS_", "RAY_", "SEGFILL_"))}
        environment = {**ambient, **(environment or {})}
        self.process: BaseProcess = _context.Process(target=_drive, args=(list(arguments), environment, self._log.name))
        self.process.start()

    @property
    def pid(self) -> int:
        assert self.process.pid
        return self.process.pid

    def wait(self) -> int:
        """Wait for the end. Returns the exit code; minus the signal's number when it was killed."""
        self.process.join(PATIENCE)
        code = self.process.exitcode
        if code is None:
            self.process.kill()
            raise AssertionError(f"a driver did not end within {PATIENCE} s: {self.said()}")
        return code

    def said(self) -> str:
        return Path(self._log.name).read_text(errors="replace")


def _drive(arguments: list[str], environment: dict[str, str], log: str) -> None:
    os.environ.update(environment)
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    sys.stdout = sys.stderr = os.fdopen(1, "w", closefd=False)
    if (folder := Path(os.environ.get(crash_points.FOLDER, "/nowhere"))).is_dir():
        (folder / "driver").write_text(str(os.getpid()))
    packs.A_PACK, packs.AT_THE_END = 2, 3  # type: ignore[misc]  # a run of few units folds, and folds anew at its end
    crash_points.arm()
    code = main("clean", arguments)
    sys.stdout.flush()
    sys.exit(code)


def finished(arguments: Sequence[str], environment: Mapping[str, str] | None = None) -> int:
    """Run the command until it ends by itself. Returns how often it was killed before.

    Raises AssertionError for any other end.
    """
    for killed in range(20):
        driver = Driver(arguments, environment)
        code = driver.wait()
        if code >= 0:
            assert code == 0, f"exit code {code}: {driver.said()}"
            return killed
    raise AssertionError("killed twenty times")


def fault(out: str, quiet: Mapping[str, str]) -> str:
    """How a finished output differs from an undisturbed one, or ""."""
    now = published(out)
    if lost := sorted(quiet.keys() - now.keys()):
        return f"lost: {lost}"
    if more := sorted(now.keys() - quiet.keys()):
        return f"too much: {more}"
    if other := sorted(path for path, sha256 in now.items() if quiet[path] != sha256):
        return f"other bytes: {other}"
    if (sums := totals(out)) != {"images": IMAGES, "written": 9, "unchanged": 2, "rejected": 1}:
        return f"other counts: {sums}"
    commits = [info.path for info in open_store(out).list("_commit")]
    if len(commits) != UNITS:
        return f"{len(commits)} commits: {commits}"
    folders = ("_commit/", "_packs/", "masks/", "images/", "rendered/", "_previews/", "_run/")
    known = (*folders, "report/index.html", "README.md", "classes.json")
    junk = [path for path in everything(out) if not path.startswith(known) or path.startswith("_run/probe-")]
    return f"left behind: {junk}" if junk else "; ".join(map(str, verify.check(open_store(out))))
