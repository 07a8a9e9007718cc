"""The script of cluster=slurm; tests/cluster/test_slurm.py runs it."""

import subprocess
from pathlib import Path

import pytest

from jobs.entry import segfill
from pipeline.cluster.run import Run
from pipeline.cluster.slurm import Slurm
from pipeline.errors import ConfigError

RUN = Run(
    verb="clean",
    arguments=("source.uri=/data/in", "sink.uri='/data/o ut; $(false)'"),
    source="/data/in\n#SBATCH --uid=0",
    sink="/data/o ut; $(false)",
    config={},
)


def directives(script: str) -> list[str]:
    return [line.removeprefix("#SBATCH ") for line in script.splitlines() if line.startswith("#SBATCH ")]


def test_only_what_is_asked_for_is_in_the_script() -> None:
    script = Slurm(nodes=4, cpus=32, python="/opt/segfill/bin/python").script(RUN)
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)
    found = directives(script)
    assert {"--nodes=4", "--cpus-per-task=32", "--requeue", "--signal=B:USR1@120", "--dependency=singleton"} <= set(
        found
    )
    assert not [each for each in found if each.startswith(("--gres", "--mem", "--time", "--partition", "--uid"))]
    full = Slurm(gpus=4, memory_gib=64, time="2-00", partition="a100,h100", account="x", qos="y", constraint="a&b")
    more = set(directives(full.script(RUN))) - set(found)
    expected = ["--gres=gpu:4", "--mem=64G", "--time=2-00", "--partition=a100,h100", "--account=x", "--qos=y"]
    assert {*expected, "--constraint=a&b"} <= more
    assert "--num-gpus=4" in full.script(RUN)
    for word in ("symmetric-run", "ray stop", "pkill"):
        assert word not in script


def test_lines_of_a_site_come_first() -> None:
    script = Slurm(setup=("module load cuda", "export HTTPS_PROXY=http://proxy:3128")).script(RUN)
    lines = script.splitlines()
    assert lines.index("module load cuda") < next(i for i, line in enumerate(lines) if line.startswith("python="))


@pytest.mark.parametrize("field", ["time", "partition", "account", "qos", "constraint", "python", "logs", "temp"])
def test_a_line_break_gets_no_option_of_its_own(field: str) -> None:
    with pytest.raises(ConfigError, match=f"{field}: expected a"):
        Slurm(**{field: "x\n#SBATCH --uid=0"})  # type: ignore[arg-type]


def test_apply_needs_slurm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    words = ["submit", "clean", "s3://b/in", "s3://b/out", "cluster=slurm", "cluster.apply=true"]
    assert segfill(words) == 2
    assert "sbatch is not found; run this where Slurm's commands are" in capsys.readouterr().err
