"""node_check.py: what a node must see before a run, and that one bad object is not the end of it."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline import build, plan
from pipeline.execute.node_check import NodeCheck, node_check
from pipeline.flow import Flow
from pipeline.plan import Plan
from tests.fakes.drawn_images import folder_of
from tests.fakes.tar_samples import tar_of

FILES = ["source=files"]


def planned(uri: Path | str, out: Path, *more: str) -> tuple[Flow, Plan]:
    overrides = [f"source.uri={uri}", f"sink.uri={out}", "segment=[faces]", "select.labels=[face]", "fill=solid", *more]
    flow = build.build(build.compose("clean", overrides)).flow
    return flow, plan.make(flow.source.shards(), ())


def problem(flow: Flow, left: Plan) -> str:
    with node_check(flow, left) as check:
        return check.problem()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = folder_of(tmp_path / "in", range(3))
    for number in range(3):
        (folder / f"{number:05}.tar").write_bytes(tar_of([(f"{number}.png", (folder / f"{number}.png").read_bytes())]))
    return folder


@pytest.mark.parametrize("named", ["", "0.png", "00001.tar", "{00000..00002}.tar", "0000*.tar"])
def test_a_node_that_sees_all_has_no_problem(named: str, source: Path, tmp_path: Path) -> None:
    flow, left = planned(f"{source}/{named}" if named else source, tmp_path / "new/out", *([] if named else FILES))
    assert problem(flow, left) == ""
    assert not (tmp_path / "new").exists()
    assert not list(tmp_path.glob(".segfill-*"))


def checked(flow: Flow, left: Plan, change: Sequence[Path]) -> str:
    """The problem after some files went that the driver still saw."""
    with node_check(flow, left) as check:
        for path in change:
            path.unlink()
        return check.problem()


def test_one_object_that_is_gone_is_not_the_end_and_all_of_them_are(source: Path, tmp_path: Path) -> None:
    flow, left = planned(source, tmp_path / "out", "source=webdataset")
    tars = sorted(source.glob("*.tar"))
    assert checked(flow, left, tars[:1]) == ""
    said = checked(flow, left, tars[1:])
    assert "00000.tar" in said
    assert "share that folder with every node" in said


def test_another_file_of_the_same_name_is_no_shared_folder(source: Path, tmp_path: Path) -> None:
    flow, left = planned(source / "00001.tar", tmp_path / "out")
    with node_check(flow, left) as check:
        (source / "00001.tar").write_bytes(b"other")
        assert f"sees 5 bytes of {source}/00001.tar where this machine sees" in check.problem()


def test_a_node_of_another_version_or_without_the_sink_is_told(source: Path, tmp_path: Path) -> None:
    flow, left = planned(source, tmp_path / "out", *FILES)
    with node_check(flow, left) as check:
        assert "runs Segfill" in replace(check, code="0.0.1+other").problem()
        elsewhere: NodeCheck = replace(check, token=(f"{tmp_path}/none/x.tmp", "content"))
        assert "does not see the files that this machine writes" in elsewhere.problem()
        Path(check.token[0]).unlink()
        assert "does not see the files that this machine writes" in check.problem()
