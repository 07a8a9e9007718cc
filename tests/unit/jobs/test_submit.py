"""What a driver on the cluster is called with means what it means here."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs import submit
from pipeline import build, typed
from pipeline.errors import ConfigError

NAMES = st.text(st.sampled_from("ab '\"\\,[]{}()=#ü$*~.&"), min_size=1).filter(lambda name: name.strip() == name)


@given(st.lists(NAMES.map(lambda name: f"/no/{name}"), min_size=1, max_size=3))
def test_a_path_is_read_there_as_it_is_here(paths: list[str]) -> None:
    if any("${" in path or {"'", '"'} <= set(path) for path in paths):
        with pytest.raises(ConfigError, match="cannot travel; use a link"):
            [submit._quoted("source.uri", path) for path in paths]
        return
    sent = [submit._quoted("source.uri", path) for path in paths]
    meant = [os.path.abspath(path) for path in paths]
    assert typed.value_of("source.uri", sent[0], lambda _: False) == meant[0]
    if len(paths) > 1:
        assert typed.value_of("source.uri", f"[{','.join(sent)}]", lambda _: False) == meant


def described(*arguments: str) -> tuple[str, ...]:
    return submit.described("annotate", list(arguments)).arguments


def test_paths_are_absolute_and_the_rest_is_as_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = described("source.uri=in/a b", "sink.uri=${source.uri}/../out", "segment=[faces]", "chunk=4")
    assert found == (f"source.uri='{tmp_path}/in/a b'", f"sink.uri={tmp_path}/in/out", "segment=[faces]", "chunk=4")
    found = described("source.uri=@list.txt", "sink.uri=s3://b/out", "review_seam=${max_reject_share}")
    assert found == (f"source.uri=@{tmp_path}/list.txt", "sink.uri=s3://b/out", "review_seam=${max_reject_share}")
    assert described("source.uri=~/in", "sink.uri=s3://b/out")[0] == f"source.uri={os.path.expanduser('~/in')}"


def test_what_is_sent_composes_to_the_same_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = ["source.uri=in, (1)", "sink.uri=o'ut", "segment=[text]", "segment.text.score=0.4"]
    run = submit.described("annotate", arguments)
    here, there = (build.build(build.compose("annotate", list(given))) for given in (arguments, run.arguments))
    assert there.config == here.config == run.config
    assert there.flow.source.uri == str(tmp_path / "in, (1)")
    assert there.flow.sink.uri == str(tmp_path / "o'ut") == run.sink
