"""Weights whose licence does not allow commercial use are refused by name, before anything is written."""

from pathlib import Path

import pytest

from jobs.entry import main
from pipeline.errors import ConfigError, WeightsError
from pipeline.models.licence import Policy
from pipeline.models.weights import Weights
from tests.fakes.specs import made

NC = "CC-BY-NC-4.0"
ONE = Weights(uri="file:/somewhere/one.onnx", sha256="0" * 64, licence="MIT")
OTHER = Weights(uri="file:/somewhere/other.onnx", sha256="1" * 64, licence=NC)


def test_commercial_refuses_by_name_what_is_not_known_to_allow_it() -> None:
    Policy().check((ONE, OTHER))
    Policy(licence="commercial").check((ONE,))
    Policy(licence="commercial", accept=(NC,)).check((ONE, OTHER))
    with pytest.raises(WeightsError, match=rf"other.onnx is under {NC}.*policy.accept=\[{NC}\]"):
        Policy(licence="commercial").check((ONE, OTHER))
    with pytest.raises(ConfigError, match=r"policy\.licence: expected any or commercial, got 'comercial'"):
        made("policy", Policy, licence="comercial")


def test_a_licence_with_conditions_is_named_with_them_and_has_to_be_accepted() -> None:
    sam = Weights(uri="file:/somewhere/model.safetensors", sha256="2" * 64, licence="SAM License")
    with pytest.raises(WeightsError, match=r"SAM License, which allows commercial use, but none for warfare.*accept="):
        Policy(licence="commercial").check((sam,))
    Policy(licence="commercial", accept=("SAM License",)).check((sam,))


@pytest.mark.promise("A run that cannot work is refused in one line and writes nothing")
def test_a_run_is_refused_before_anything_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    places = [f"source.uri={tmp_path}", f"sink.uri={tmp_path / 'out'}", "execute=local", "policy.licence=commercial"]
    assert main("annotate", [*places, "segment=[faces]", f"segment.faces.model.licence={NC}"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "centerface.onnx" in said
    assert NC in said
    assert list(tmp_path.iterdir()) == []
