"""An image that kills, stalls or bloats its worker is rejected; the other images of its unit are kept."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from pipeline import build
from pipeline.execute import isolate
from pipeline.execute.isolate import ImageLimits
from pipeline.flow import STAGES
from pipeline.plan import make
from pipeline.records import UnitBatch
from pipeline.storage.store import open_store
from tests.fakes.job_run import run
from tests.fakes.metadata_samples import photo
from tests.fakes.published_output import everything, published, rows, totals

DEADLY = [
    "plugins=[tests]",
    "decode._target_=tests.fakes.deadly_stages.DeadlyDecode",
    "segment.faces._target_=tests.fakes.deadly_stages.DeadlyFaces",
]
KILLERS = {
    "03-segfault": ("decode", "killed_worker"),
    "04-hang": ("decode", "timed_out"),
    "05-memory": ("decode", "out_of_memory"),
    "08-raises": ("segment", "unexpected"),
    "09-kills": ("segment", "killed_worker"),
}
SETTINGS = [
    "source.unit_images=6",
    "sink=files",
    "max_reject_share=0.9",
    "execute.image_seconds=15",  # every hang takes all of it; on busy cores a shorter limit ends other images too
    "execute.image_mib=300",
    "audit=none",
    "segment.faces.thorough=false",
]
COLOURS = {"08-raises": (0, 255, 0), "09-kills": (0, 0, 255)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve small pictures, five of them deadly, one with a face."""
    made = tmp_path_factory.mktemp("deadly")
    for number in range(12):
        name = next((key for key in KILLERS if key.startswith(f"{number:02d}")), f"{number:02d}-harmless")
        Image.new("RGB", (48, 40), COLOURS.get(name, (200, 10 * number, 30))).save(made / f"{name}.png")
    photo().save(made / "06-harmless.png")
    return made


def overrides(source: Path, out: Path, *more: str) -> list[str]:
    return [f"source.uri={source}", f"sink.uri={out}", *SETTINGS, *more]


def by_key(out: Path) -> dict[str, dict[str, Any]]:
    return {str(row["key"]): row for row in rows(out)}


def fates(out: Path) -> dict[str, tuple[str, str]]:
    return {key: (row["stage"], row["reason"]) for key, row in by_key(out).items() if row["status"] == "rejected"}


@pytest.mark.promise("An image that kills, stalls or bloats its worker is rejected, the rest of its unit is written")
@pytest.mark.parametrize(
    "layout",
    [
        ["execute=processes", "execute.workers=2"],
        ["execute=ray"],
        pytest.param(["execute=staged"], marks=pytest.mark.chaos),
        pytest.param(["execute=staged", "execute.units=3"], marks=pytest.mark.chaos),
    ],
    ids=" ".join,
)
@pytest.mark.timeout(900)  # each hang costs its limit, and each death a worker that starts anew
def test_a_run_survives_every_kind_of_deadly_image(layout: list[str], folder: Path, tmp_path: Path) -> None:
    out, quiet = tmp_path / "out", tmp_path / "quiet"
    ended = run("anonymize", folder, out, *SETTINGS, *layout, *DEADLY)
    assert ended.code == 0, ended.err
    assert fates(out) == KILLERS
    assert totals(str(out)) == {"images": 12, "written": 1, "unchanged": 6, "rejected": 5}
    assert not [path for path in everything(str(out)) if path.startswith("_attempt")]
    assert run("anonymize", folder, quiet, *SETTINGS, "execute=local").code == 0
    for key, row in by_key(out).items():
        assert key in KILLERS or row["output_sha256"] == by_key(quiet)[key]["output_sha256"]


@pytest.mark.promise("An image that kills, stalls or bloats its worker is rejected, the rest of its unit is written")
def test_the_plain_loop_dies_twice_of_an_image_and_then_rejects_it(folder: Path, tmp_path: Path) -> None:
    few = tmp_path / "few"
    few.mkdir()
    for name in ("02-harmless", "03-segfault"):
        (few / f"{name}.png").write_bytes((folder / f"{name}.png").read_bytes())
    command = [sys.executable, "-m", "jobs.anonymize", *overrides(few, tmp_path / "out", "execute=local", *DEADLY)]
    codes = [subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True).returncode for _ in range(3)]
    assert codes == [-11, -11, 0]
    assert fates(tmp_path / "out") == {"03-segfault": ("decode", "killed_worker")}
    assert totals(str(tmp_path / "out")) == {"images": 2, "written": 0, "unchanged": 1, "rejected": 1}


@pytest.fixture
def suspicious(monkeypatch: pytest.MonkeyPatch) -> None:
    """Treat every unit as one that killed two workers."""
    monkeypatch.setattr(isolate, "_TRUSTED_ATTEMPTS", 0)


@pytest.mark.promise("One image at a time in a process of its own gives the same bytes")
def test_alone_gives_the_bytes_of_the_plain_loop(
    demo_shards: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    chosen = ["source.unit_images=8", "max_reject_share=0.2", "execute=local", "sink=parquet", "render=everything"]

    def cleaned(out: str) -> dict[str, str]:
        assert run("clean", demo_shards / "folder", tmp_path / out, *chosen).code == 0
        return published(str(tmp_path / out))

    plain = cleaned("plain")
    request.getfixturevalue("suspicious")
    assert cleaned("alone") == plain


@pytest.mark.promise("One image at a time in a process of its own gives the same bytes")
def test_each_stage_alone_gives_what_it_gives_together(
    folder: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    config = build.compose("anonymize", [f"source.uri={folder}", f"sink.uri={tmp_path}", "fill=diffuse"])
    flow = build.build(config).flow
    worker = flow.load("cpu", 1)
    pending = make(flow.source.shards(), ()).pending[0]
    batch: UnitBatch[Any] = next(iter(flow.source.units(pending.shard, pending.done)))
    together: list[UnitBatch[Any]] = [batch]
    *stages, _ = STAGES
    for stage in stages:
        together.append(stage.run(worker, together[-1]))
    request.getfixturevalue("suspicious")
    for stage, before, after in zip(stages, together, together[1:], strict=False):
        alone = isolate.run_attempt(isolate.part(stage.name), worker, before, ImageLimits())
        assert repr(alone.items) == repr(after.items)  # type: ignore[union-attr]
    committed = isolate.run_attempt(isolate.part("render", commits=True), worker, together[-1], ImageLimits())
    assert committed.counts.images == 12  # type: ignore[union-attr]


def test_the_limits_are_checked_before_the_run(folder: Path, tmp_path: Path) -> None:
    for wrong in ("execute.image_seconds=0", "execute.image_mib=-1"):
        command = [sys.executable, "-m", "jobs.anonymize", *overrides(folder, tmp_path / "out"), wrong]
        done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True)
        assert done.returncode == 2
        assert wrong.split("=")[0] in done.stderr
    assert open_store(str(tmp_path)).list() == []
