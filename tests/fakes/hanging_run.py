"""A run whose stage hangs, at its third attempt: one image at a time, each in a disposable process."""

import io
from pathlib import Path

import pytest

from pipeline import build, driver
from pipeline.execute import isolate
from tests.fakes.leak_scan import leaks, pictures
from tests.fakes.published_output import rows

STAGES = {
    "decode": ("BrokenDecode", "hang_views"),
    "decode, full size": ("BrokenDecode", "hang_full"),
    "segment.faces": ("BrokenFaces", "hang"),
    "select": ("BrokenSelect", "hang"),
    "fill": ("BrokenFill", "hang"),
    "render": ("HangingRender", ""),
}


def check(
    stage: str,
    source: Path,
    out: Path,
    secrets: tuple[bytes, ...],
    colour: tuple[int, int, int],
    patch: pytest.MonkeyPatch,
) -> None:
    """Check that every image with a face is rejected as `timed_out` and that nothing of it is published."""
    patch.setattr(isolate, "_TRUSTED_ATTEMPTS", 0)  # as if two workers had been stuck in it before
    name, how = STAGES[stage]
    part = stage.partition(",")[0]
    broken = [
        "plugins=[tests]",
        f"{part}._target_=tests.fakes.faulty_stages.{name}",
        *([f"+{part}.how={how}"] if how else []),
    ]
    where = [f"source.uri={source}", f"sink.uri={out}", "execute=local", "execute.image_seconds=4", "audit=none"]
    config = build.compose("anonymize", [*where, *broken, "segment.faces.thorough=false"])
    assert driver.run(build.build(config), io.StringIO(), io.StringIO()) == 3
    found = rows(out)
    assert len(found) == len(list(source.iterdir()))
    assert {(row["status"], row["reason"], row["output"]) for row in found} == {("rejected", "timed_out", "")}
    assert list(pictures(out)) == []
    assert leaks(out, secrets, colour) == []
