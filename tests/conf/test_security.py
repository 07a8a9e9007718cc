"""A config names no code outside the allowed packages, brings no config from elsewhere, and holds no secret."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs import audit
from jobs.entry import main
from pipeline import build, credentials
from pipeline.errors import ConfigError

SECRET = "hUnt3r2+/hUnt3r2"
PLACES = ["source.uri=in", "sink.uri=out", "execute=local"]


@pytest.fixture(autouse=True)
def nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Run every test in an empty folder, which stays empty: refusals come before Hydra or Segfill writes."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    yield
    assert list(folder.rglob("*")) == []


def refused(capsys: pytest.CaptureFixture[str], *overrides: str) -> str:
    assert main("anonymize", [*PLACES, *overrides]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert "Traceback" not in said.err
    return said.err


EVIL = "_target_:os.system,command:'touch ran'"


OUTSIDE = [
    ["fill._target_=os.system"],
    ["fill._target_=pipelines.evil.Fill"],
    ["fill._target_=pipeline.models.weights.subprocess.Popen"],
    ["fill._target_=pipeline.fill.solid.ConfigError"],
    ["fill._target_=[pipeline.fill.solid.Solid]"],
    ["fill._target_=null"],
    ["execute._target_=os.system"],
    ["segment.faces.model._target_=os.system"],
    [f"fill.colour=[[a,{{x:[{{{EVIL}}}]}}]]"],
    [f"+more={{{EVIL}}}"],
    [f"select.labels=[{{{EVIL}}}]"],
    [f"plugins=[{{{EVIL}}}]"],
    ["+_target_=os.system"],
    ["fill._target_=${job}.os.system"],
    ["job=os.system", "fill._target_=${job}"],
    ["fill._target_=${oc.env:EVIL}"],
    ["+fill._partial_=true"],
    ["+fill._args_=[1]"],
    ["plugins=['']", "fill._target_=os.system"],
    ["plugins=['.']", "fill._target_=os.system"],
    ["plugins=[os]", "fill._target_=os.system"],
    ["plugins=[os]", "fill._target_=subprocess.Popen"],
]
MORE_OUTSIDE = [
    ["fill._target_=subprocess.Popen"],
    ["fill._target_=builtins.eval"],
    ["fill._target_=pipeline_evil.Fill"],
    ["fill._target_=pipeline.build.importlib.import_module"],
    ["fill._target_=pipeline.models.weights.subprocess"],
    ["fill._target_=pipeline.build.compose"],
    ["fill._target_=pipeline.fill.solid.dataclass"],
    ["fill._target_='pipeline.fill.solid.Solid.__init__'"],
    ["fill._target_='pipeline/../os.system'"],
    ["fill._target_='pipeline..os.system'"],
    ["source._target_=os.system"],
    ["decode._target_=os.system"],
    ["segment.faces._target_=os.system"],
    [f"fill.colour={{{EVIL}}}"],
    [f"fill.colour=[{{{EVIL}}}]"],
    [f"+fill.more={{{EVIL}}}"],
    [f"segment.faces.side={{{EVIL}}}"],
    [f"+segment.more={{{EVIL}}}"],
    ["fill._target_='pipeline.${oc.env:EVIL}'"],
    ["+fill._recursive_=false"],
    ["+fill._convert_=all"],
    ["+fill._anything_=1"],
    ["plugins=[subprocess]", "fill._target_=subprocess.Popen"],
]
"""Tried by make chaos: composing takes a while."""


@pytest.mark.slow
@pytest.mark.promise("a class outside the allowed packages is never named by a config")
@pytest.mark.parametrize(
    "overrides", [*OUTSIDE, *(pytest.param(more, marks=pytest.mark.chaos) for more in MORE_OUTSIDE)]
)
def test_no_code_outside_the_allowed_packages(
    overrides: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EVIL", "os.system")
    refused(capsys, *overrides)


def test_a_plugin_is_the_way_to_code_of_ones_own() -> None:
    composed = build.compose("anonymize", [*PLACES, "plugins=[tests]", "+fill.how=echo",
                                           "fill._target_=tests.fakes.faulty_stages.BrokenFill"])  # fmt: skip
    assert type(build.build(composed).flow.fill).__module__ == "tests.fakes.faulty_stages"


@pytest.mark.promise("a config value is a value: no resolver runs")
@pytest.mark.parametrize(
    "value",
    [
        "${oc.env:AWS_SECRET_ACCESS_KEY}",
        "${oc.env:HOME}",
        "${oc.env:NOT_SET,other}",
        "${oc.decode:'[1]'}",
        "${oc.create:{a:1}}",
        "${oc.select:job}",
        "${oc.dict.keys:fill}",
        "${oc.${job}:HOME}",
        "${${job}:HOME}",
        "${eval:1}",
        "${no_such:1}",
        "${hydra:runtime.cwd}",
        "a${oc.env:HOME}b",
        r"\${oc.env:HOME}",
        "${job}${oc.env:HOME}",
        "${ oc.env:HOME}",
    ],
)
def test_resolvers_are_refused_by_key_and_not_run(
    value: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    for override in (f"sink.uri='{value}'", f"+fill.more=['{value}']", f"fill.colour={value}", value):
        assert SECRET not in refused(capsys, override)


def test_a_reference_to_another_key_is_understood() -> None:
    job = build.build(build.compose("clean", [*PLACES, "sink.uri='${source.uri}-out'"]))
    assert job.flow.sink.uri == "in-out"
    with pytest.raises(ConfigError, match=r"config: .*nowhere"):
        build.build(build.compose("clean", ["source.uri=in", "sink.uri='${nowhere}'"]))


@pytest.mark.promise("Hydra's own settings cannot be changed")
@pytest.mark.parametrize(
    "override",
    [
        "hydra.run.dir=elsewhere",
        "hydra.sweep.dir=elsewhere",
        "hydra.output_subdir=elsewhere",
        "hydra.mode=MULTIRUN",
        "hydra.job.chdir=true",
        "hydra.job.env_set.PATH=/evil",
        "hydra.searchpath=[file:///evil]",
        "hydra.searchpath=[pkg://evil]",
        "+hydra.callbacks.evil={_target_:os.system}",
        "++hydra.launcher._target_=os.system",
        "hydra/job_logging=disabled",
        "hydra/hydra_logging=disabled",
        "hydra/launcher=basic",
        "hydra/sweeper=basic",
        "+hydra/callbacks=evil",
        "hydra={}",
        "~hydra",
        "~hydra.job_logging",
        "+fill@hydra.callbacks=solid",
        "+fill@hydra=solid",
        "hydra/help@hydra.help=default",
    ],
)
def test_hydra_is_only_used_to_compose(override: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert "Hydra's own settings cannot be changed" in refused(capsys, override)


@pytest.mark.promise("Hydra's own settings cannot be changed")
@pytest.mark.parametrize(
    "argument", ["--config-dir=/evil", "--config-path=/evil", "-cd", "--multirun", "-m", "--info", "--run",
                 "--hydra-help", "--package=evil", "--experimental-rerun=x"],
)  # fmt: skip
def test_hydra_has_no_options_here(argument: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert "there is no option" in refused(capsys, argument)


@pytest.mark.parametrize(
    "override",
    ["fill=../../../evil", "fill=/evil", "+fill=/evil", "+evil=../fill/solid", "+defaults=[/evil]", "fill@job=solid",
     "+fill@more=../../evil", "source@sink=../evil", "'fill=solid\\n_target_: os.system'"],
)  # fmt: skip
def test_no_config_from_elsewhere(override: str, capsys: pytest.CaptureFixture[str]) -> None:
    refused(capsys, override)


CREDENTIALS = [
    f"+source.secret_key={SECRET}",
    f"+source.aws_secret_access_key={SECRET}",
    f"+source.AccessKey={SECRET}",
    f"+source.access-key={SECRET}",
    f"+sink.token={SECRET}",
    f"+sink.session_token={SECRET}",
    f"+sink.password={SECRET}",
    f"+sink.Passphrase={SECRET}",
    f"+sink.pwd={SECRET}",
    f"+sink.api_key={SECRET}",
    f"+sink.apikey={SECRET}",
    f"+sink.account_key={SECRET}",
    f"+sink.sas_token={SECRET}",
    f"+sink.credentials.value={SECRET}",
    f"+sink.auth.value={SECRET}",
    f"+sink.storage_options={{key:x,secret:'{SECRET}'}}",
    f"+sink.storage_options={{client_kwargs:{{aws_secret_access_key:'{SECRET}'}}}}",
    f"+sink.headers={{Authorization:'Bearer {SECRET}'}}",
    f"+sink.options=[{{token:'{SECRET}'}}]",
    f"fill={{password:'{SECRET}'}}",
    f"source.uri=s3://user:{SECRET}@bucket/x",
    f"source.uri='s3://:{SECRET}@bucket/x'",
    f"source.uri='https://user:{SECRET}@host/x'",
    f"source.uri='s3://user:a/b@{SECRET}@bucket/x'",
    f"source.uri='simplecache::s3://user:{SECRET}@bucket/x'",
    f"source.uri='https://h/x?X-Amz-Algorithm=a&X-Amz-Signature={SECRET}'",
    f"source.uri='https://h/x?x-amz-security-token={SECRET}'",
    f"source.uri='https://h/x?X-Amz-Credential={SECRET}'",
    f"source.uri='https://h/x?AWSAccessKeyId={SECRET}&Expires=1'",
    f"source.uri='https://h/x?Expires=1&Signature={SECRET}'",
    f"source.uri='https://h/x?X-Goog-Signature={SECRET}'",
    f"source.uri='https://h/x?sv=2022&sp=r&sig={SECRET}'",
    f"sink.uri='az://container/x?sig={SECRET}'",
    f"sink.uri='s3://bucket/x?token={SECRET}'",
    f"source.uri='s3://{SECRET}@bucket/x'",
    f"sink.uri=s3://bucket/{SECRET}",  # the value of a variable that holds a credential
    f"sink.uri=out-{SECRET}",
    f"+fill.{SECRET}=1",
    f"fill.colour={SECRET}",
    f"fill={SECRET}",
    f"segment.faces.model.uri='https://user:{SECRET}@host/model.onnx'",
    f"segment.faces.model.uri='https://host/model.onnx?sig={SECRET}'",
    f"segment.faces.model.uri='https://host/{SECRET}.onnx'",
    f"--password={SECRET}",
    f"password={SECRET}",
    f"s3://user:{SECRET}@bucket",
    f"{SECRET}",
    f"source.uri=s3://user:{SECRET}@bucket/[x",  # no override by Hydra's grammar
]


@pytest.mark.promise("a credential in a config is refused before anything is written, and not repeated")
@pytest.mark.parametrize("override", CREDENTIALS)
def test_credentials_are_refused_and_not_repeated(
    override: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    said = refused(capsys, override)
    assert "credential" in said or "there is no option" in said
    assert SECRET not in said


@pytest.mark.promise("a credential in a config is refused before anything is written, and not repeated")
@pytest.mark.parametrize("override", CREDENTIALS[:33])
def test_they_are_told_by_their_form_where_no_variable_holds_them(
    override: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY", raising=False)
    said = refused(capsys, override)
    assert "credential" in said
    assert SECRET not in said


@pytest.mark.promise("a credential in a config is refused before anything is written, and not repeated")
@pytest.mark.parametrize(
    "argument", [f"uri=s3://user:{SECRET}@bucket", f"token={SECRET}", f"uri=s3://bucket?sig={SECRET}", f"uri={SECRET}"]
)
def test_the_audit_refuses_them_too(
    argument: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    assert audit.main([argument]) == 2
    assert SECRET not in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize(
    "override",
    ["sink.uri=s3://bucket/a:b@c", "sink.uri='s3://bucket/key=1/sign'", "sink.uri=/data/tokens/out", "sink.uri=author",
     "source.uri=/data/password-posters", "segment.faces.model.licence=MIT", "source.uri='s3://bucket/{00..12}.tar'"],
)  # fmt: skip
def test_ordinary_values_are_no_credentials(override: str) -> None:
    build.build(build.compose("anonymize", [*PLACES, override]))


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("nothing to see: 3 of 4, key a/b.jpg, fill=solid", "nothing to see: 3 of 4, key a/b.jpg, fill=solid"),
        (f"https://me:{SECRET}@host/simple: 404", "https://***@host/simple: 404"),
        (f"login with {SECRET} failed", "login with *** failed"),
        ("key AKIAIOSFODNN7EXAMPLE is unknown", "key *** is unknown"),
        ("?X-Amz-Date=1&X-Amz-Signature=abc end", "?X-Amz-Date=***&X-Amz-Signature=*** end"),
        ('{"secret_key": "abc", "key": "d"}', '{"secret_key": "***", "key": "d"}'),
        ("Authorization: Bearer abc", "Authorization: ***"),
        ("start it with RAY_AUTH_MODE=token", "start it with RAY_AUTH_MODE=token"),
    ],
)
def test_what_is_struck_out_of_a_message(text: str, left: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    assert credentials.redact(text) == left


def test_a_fault_of_ours_is_shown_without_what_it_quotes(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError(f"cannot log in with {SECRET}")

    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setattr(build, "build", broken)
    assert main("anonymize", PLACES) == 1
    said = capsys.readouterr().err
    assert "ZeroDivisionError: cannot log in with ***" in said
    assert SECRET not in said
