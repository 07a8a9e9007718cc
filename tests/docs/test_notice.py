"""NOTICE names the licence of all weights that a config names, and every file of others that lies here."""

import re
from pathlib import Path

import pytest

from pipeline import build

ROOT = Path(__file__).parents[2]
LICENCES = sorted(
    {
        found[1].split(" #")[0].strip()
        for path in build.CONF.rglob("*.yaml")
        for found in re.finditer(r"^\s+licence: ([^?].*)$", path.read_text(), re.MULTILINE)
    }
)


@pytest.mark.parametrize("licence", LICENCES)
def test_a_licence_of_weights_is_named(licence: str) -> None:
    if licence != "any":  # a policy, not a licence
        assert licence in (ROOT / "NOTICE").read_text()


def test_every_file_that_it_names_is_here() -> None:
    files = re.findall(r"^[\w/]+\.(?:onnx|jpg)$", (ROOT / "NOTICE").read_text(), re.MULTILINE)
    assert len(files) > 3
    assert [name for name in files if not (ROOT / name).exists()] == []
