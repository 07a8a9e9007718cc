"""The one command line: it lists its verbs, names the nearest one, takes paths as they are typed, and ends quietly when
nobody reads on."""

import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from PIL import Image

from jobs import demo, verify
from jobs.entry import EXIT_PIPE, VERBS, main, segfill
from pipeline import build
from pipeline.errors import ConfigError, TooManyRejected
from tests.fakes.job_run import run

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}


@pytest.mark.parametrize("arguments", [[], ["--help"]])
def test_alone_it_lists_every_verb_in_a_line(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert segfill(arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    for name in VERBS:
        (line,) = (line for line in lines if line.startswith(f"  {name} "))
        assert len(line.split()) > 4


@pytest.mark.parametrize(
    ("word", "expected"),
    [("anonymise", "did you mean anonymize?"), ("audti", "did you mean audit?"), ("-x", "known here: annotate")],
)
def test_an_unknown_verb_names_the_nearest(word: str, expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert segfill([word, "uri=x"]) == 2
    said = capsys.readouterr()
    assert (said.out, said.err.count("\n")) == ("", 1)
    assert expected in said.err


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_and_shows_its_config(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert segfill([verb, "--help"]) == 0
    page = capsys.readouterr().out
    assert page.startswith(f"segfill {verb} ")
    arguments = ["clean"] if verb in ("estimate", "submit") else []
    assert segfill([verb, *arguments, "--cfg", "job"]) == 0
    shown = capsys.readouterr().out
    keys = [line.partition(":")[0] for line in shown.splitlines() if line[0] not in " -_" and ":" in line]
    assert keys
    if verb not in ("estimate", "submit"):  # which show those of a job, or what it is called with
        explained = [key for key in keys if f"\n  {key}=" in page or f"\n  {key}." in page]
        assert [key for key in keys if key not in (*explained, *VERBS[verb].unused)] == []


@pytest.mark.parametrize(("verb", "key"), [("audit", "  max_residual=0.0 "), ("estimate", "  gpus=null ")])
def test_the_help_of_a_verb_explains_its_keys(verb: str, key: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(verb, ["--help"]) == 0
    page = capsys.readouterr().out
    assert key in page
    assert page.count("\n  sample=") == 1


@pytest.mark.parametrize("command", ["anonymize --help", "estimate anonymize --cfg job", ""])
@pytest.mark.parametrize("buffered", ["1", ""])
def test_a_reader_that_leaves_ends_it_quietly(command: str, buffered: str) -> None:
    """As `segfill ... | head -1`: the pipe's other end is closed before anything is written."""
    read, write = os.pipe()
    os.close(read)
    process = subprocess.run(
        [sys.executable, "-m", "jobs", *command.split()],
        stdout=write, stderr=subprocess.PIPE, env={**ENVIRONMENT, "PYTHONUNBUFFERED": buffered}, timeout=60,
        check=False,
    )  # fmt: skip
    os.close(write)
    assert (process.returncode, process.stderr) == (EXIT_PIPE, b"")


def test_through_a_real_pipe_the_reader_gets_its_line() -> None:
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {sys.executable} -m jobs clean --help | head -n 1"],
        capture_output=True, text=True, env=ENVIRONMENT, timeout=60, check=False,
    )  # fmt: skip
    assert done.stdout.startswith("segfill clean IN OUT ")
    assert done.stderr == ""
    assert done.returncode in (0, EXIT_PIPE)  # 0: all was written before `head` left


def test_a_broken_connection_elsewhere_is_no_closed_pipe(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object) -> None:
        raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr(build, "build", broken)
    assert main("clean", ["source.uri=in", "sink.uri=out"]) == 1
    assert "Broken pipe; the same command resumes the run" in capsys.readouterr().err


@pytest.mark.parametrize(
    "path", ["dt=2026-01-01", "a (1)", "[2019]", "Bücher, neu", "#7", "2026", "it's", "{a,b}", "back\\slash", "null"]
)
def test_a_path_is_taken_as_it_is_typed(path: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = build.compose("clean", [f"source.uri={path}", f"sink.uri=/out/{path}"])
    assert (config.source.uri, config.sink.uri) == (path, f"/out/{path}")
    assert verify.main([f"uri={tmp_path}/{path}"]) == 2
    assert f"{tmp_path}/{path}" in capsys.readouterr().err


def test_a_path_that_hydra_quotes_or_refers_to_stays_so() -> None:
    config = build.compose("clean", ["source.uri='a,b'", "sink.uri=${source.uri}-out"])
    assert build.plain(config)["sink"]["uri"] == "a,b-out"  # type: ignore[index, call-overload]


def test_a_colour_is_taken_as_the_shell_hands_it_on() -> None:
    assert build.compose("clean", ["fill=solid", "fill.colour=#0a0b0c"]).fill.colour == "#0a0b0c"


def test_the_former_name_of_estimate_says_so() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "jobs.plan", "--help"], capture_output=True, text=True, env=ENVIRONMENT, timeout=60,
        check=True,
    )  # fmt: skip
    assert done.stdout.startswith("segfill estimate JOB")
    assert done.stderr.startswith("plan: jobs.plan is now `segfill estimate`")


def test_the_demo_replaces_no_folder_but_its_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.txt").write_text("precious")
    assert demo.main([str(tmp_path)]) == 2
    assert "no demo of ours" in capsys.readouterr().err
    assert (tmp_path / "mine.txt").read_text() == "precious"


def test_what_is_required_may_not_be_empty() -> None:
    with pytest.raises(ConfigError, match=r"verify\.uri is required: expected uri=OUT"):
        build.plain(build.compose("verify", ["uri="]), "verify")


def test_a_run_that_rejects_too_much_says_how_it_goes_on(tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    for number in range(510):
        (source / f"{number}.jpg").write_bytes(b"\xff\xd8\xff\xe0 no picture")
    overrides = ("execute=local", "segment=[faces]", "segment.faces._target_=tests.fakes.slow_stages.SlowFaces")
    with pytest.raises(
        TooManyRejected, match=r"max_reject_share=0\.05; .*; max_reject_share=SHARE, up to 1\.0, goes on"
    ):
        run("annotate", source, tmp_path / "out", "plugins=tests", *overrides)
    code, said, _ = run("annotate", source, tmp_path / "out", "plugins=tests", *overrides, "max_reject_share=1.0")
    assert code == 0
    assert re.search(r"rejected +510 ", said)


def test_one_shard_is_one_shard_and_annotate_has_its_own_words(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    Image.new("RGB", (64, 64)).save(tmp_path / "in/a.png")
    (tmp_path / "in/b.png").write_bytes(b"\x89PNG\r\n\x1a\n no picture")
    _, said, errors = run(
        "annotate", tmp_path / "in", tmp_path / "out", "execute=local", "segment=[faces]", "plugins=tests",
        "segment.faces._target_=tests.fakes.slow_stages.SlowFaces",
    )  # fmt: skip
    assert said.startswith("annotate: 1 shard, ")
    assert re.search(r"\nlabelled +1\nnothing found +0\nrejected +1 ", said)
    assert "2 images (100%)" in errors


def test_pictures_that_annotate_is_asked_for_are_written(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    Image.new("RGB", (64, 64)).save(tmp_path / "in/a.png")
    faces = ("segment=[faces]", "plugins=tests", "segment.faces._target_=tests.fakes.slow_stages.SlowFaces")
    run("annotate", tmp_path / "in", tmp_path / "out", "execute=local", *faces, "render=[overlay,labels]")
    (overlay,), (labels,) = (list((tmp_path / f"out/rendered/{kind}").rglob("*.tar")) for kind in ("overlay", "labels"))
    for path in (overlay, labels):
        with tarfile.open(path) as tar:
            assert len(tar.getnames()) == 1


def test_an_output_that_was_only_cleaned_does_not_pass_an_audit(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").mkdir()
    Image.new("RGB", (64, 64)).save(tmp_path / "in/a.png")
    faces = ("plugins=tests", "segment.faces._target_=tests.fakes.slow_stages.SlowFaces", "segment=[faces]")
    run("clean", tmp_path / "in", tmp_path / "clean", "execute=local", *faces, "select=all", "fill=solid")
    run("annotate", tmp_path / "in", tmp_path / "label", "execute=local", *faces, "render=overlay")
    assert main("audit", [str(tmp_path / "label")]) == 2
    said = capsys.readouterr().err
    assert "this output was never anonymized (its run, annotate, filled no faces)" in said.replace('"', "")
    assert main("audit", [str(tmp_path / "clean")]) == 0  # it did fill faces
    manifest = tmp_path / "clean/_run/manifest.json"
    manifest.write_text(manifest.read_text().replace("segment.faces.", "segment.text."))
    assert main("audit", [str(tmp_path / "clean")]) == 2
