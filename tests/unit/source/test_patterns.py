from __future__ import annotations

import pytest

from pipeline.errors import ConfigError
from pipeline.source.patterns import expand, regex


def test_braces() -> None:
    assert expand("a{1..3}b") == ["a1b", "a2b", "a3b"]
    assert expand("{08..11}") == ["08", "09", "10", "11"]
    assert expand("{0..10}")[-2:] == ["9", "10"]
    assert expand("{a,b}/{0..1}") == ["a/0", "a/1", "b/0", "b/1"]
    assert expand("plain") == ["plain"]
    for wrong in ("{a", "a}", "{a}", "{3..1}", "{0..99999999}", "{0..9999}{0..9999}", "{{a,b}}", "{}"):
        with pytest.raises(ConfigError, match=r"source\.uri"):
            expand(wrong)


def test_globs_stay_within_a_folder() -> None:
    assert regex("*.tar").fullmatch("a.tar")
    assert not regex("*.tar").fullmatch("d/a.tar")
    assert regex("a.b").fullmatch("a.b")
    assert not regex("a.b").fullmatch("axb")
    assert not regex("[!x]a").fullmatch("/a")
    assert regex("[").fullmatch("[")
    with pytest.raises(ConfigError):
        regex("[z-a]")
