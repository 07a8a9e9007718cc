"""The audit's settings: what they take, and how a wrong one is named."""

import pickle
from typing import Any

import pytest

from pipeline.audit.receipt import AuditLimits
from pipeline.audit.run_audit import Audit, NoAudit
from pipeline.errors import ConfigError
from tests.fakes.specs import made, preset


def test_the_preset_holds_the_defaults() -> None:
    audit = preset("audit", "mtcnn")
    assert audit == Audit(mtcnn=audit.mtcnn)
    assert audit.mtcnn == preset("segment", "mtcnn")
    assert pickle.loads(pickle.dumps(audit)) == audit
    assert preset("audit", "none") == NoAudit()


@pytest.mark.parametrize("sample", [0, 1, 64, 100_000, 0.0, 0.05, 1.0])
def test_a_sample_keeps_its_kind_because_1_is_one_image_and_1_0_is_all(sample: float) -> None:
    limits = AuditLimits(sample=sample)
    assert (limits.sample, type(limits.sample)) == (sample, type(sample))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"sample": -1}, "audit.sample: expected a whole number of at least 0 or a number from 0 to 1, got -1"),
        ({"sample": 1.5}, "audit.sample: expected a whole number of at least 0 or a number from 0 to 1, got 1.5"),
        ({"sample": "all"}, "audit.sample: expected a whole number of at least 0 or a number from 0 to 1, got 'all'"),
        ({"sample": True}, "audit.sample: expected a whole number of at least 0 or a number from 0 to 1, got True"),
        ({"score": 2}, "audit.score: expected a number from 0 to 1, got 2"),
        ({"score": float("nan")}, "audit.score: expected a number from 0 to 1, got nan"),
        ({"min_face_px": 2.5}, "audit.min_face_px: expected a whole number of at least 0, got 2.5"),
        ({"max_residual": -0.1}, "audit.max_residual: expected a number from 0 to 1, got -0.1"),
        ({"sheet": "s3://bucket/x.jpg"}, "audit.sheet: expected a local path, got 's3://bucket/x.jpg'"),
        ({"canary": "s3://bucket/x.jpg"}, "audit.canary: expected a local path, got 's3://bucket/x.jpg'"),
        ({"canary": 3}, "audit.canary: expected text, got 3"),
        ({"mtcnn": "faces"}, "audit.mtcnn: expected "),
        ({"smaple": 3}, "audit.smaple is not a key of Audit; did you mean audit.sample?"),
    ],
)
def test_a_wrong_value_names_its_key(wrong: dict[str, Any], message: str) -> None:
    audit = preset("audit", "mtcnn")
    with pytest.raises(ConfigError) as caught:
        made("audit", Audit, **{"mtcnn": audit.mtcnn, **wrong})
    assert str(caught.value).startswith(message)


def test_the_detector_is_required() -> None:
    with pytest.raises(ConfigError, match=r"audit\.mtcnn is required by Audit"):
        made("audit", Audit)
