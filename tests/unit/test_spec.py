"""A spec takes what its fields say and nothing else, in one line that names key, expected and got."""

import dataclasses
import pickle
import subprocess
import sys
from collections.abc import Mapping
from typing import Annotated, Literal

import pytest
from pydantic import Field

from pipeline.errors import ConfigError
from pipeline.spec import FieldError, Share, expected, fields_of, spec
from tests.fakes.specs import made


@spec
class Inner:
    side: Annotated[int, Field(ge=8, le=64, multiple_of=8)] = 32
    """Side in pixels."""


@spec
class Outer(Inner):
    inner: Inner
    """What is inside."""
    share: Share = 0.5
    """Of the image,
    from its border."""
    names: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    mode: Literal["fast", "exact"] = "fast"
    size: Annotated[int, Field(ge=0)] | tuple[int, int] = 0

    def __post_init__(self) -> None:
        if self.mode == "exact" and not self.names:
            raise ConfigError("outer.names: expected some with mode=exact")


def outer(**values: object) -> Outer:
    return Outer(inner=Inner(), **values)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"side": 7}, "side: expected a whole number from 8 to 64, a multiple of 8, got 7"),
        ({"side": 12}, "side: expected a whole number from 8 to 64, a multiple of 8, got 12"),
        ({"side": 8.0}, "side: expected a whole number from 8 to 64, a multiple of 8, got 8.0"),
        ({"side": True}, "side: expected a whole number from 8 to 64, a multiple of 8, got True"),
        ({"side": "8"}, "side: expected a whole number from 8 to 64, a multiple of 8, got '8'"),
        ({"share": 1.5}, "share: expected a number from 0 to 1, got 1.5"),
        ({"share": float("nan")}, "share: expected a number from 0 to 1, got nan"),
        ({"names": ("a", "")}, "names[1]: expected a list, each a non-empty text, got ''"),
        ({"mode": "slow"}, "mode: expected fast or exact, got 'slow'"),
        ({"size": (1, "2")}, "size: expected a whole number of at least 0 or a list of 2, each a whole number, got (1"),
        ({"shar": 0.1}, "shar is not a key of Outer; did you mean share?"),
        ({"mode": "exact"}, "outer.names: expected some with mode=exact"),
    ],
)
def test_a_value_that_does_not_fit_is_named(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        outer(**wrong)
    assert message in str(caught.value)


def test_a_missing_field_is_named() -> None:
    with pytest.raises(ConfigError, match="inner is required by Outer"):
        Outer()  # type: ignore[call-arg]


def test_a_config_names_the_whole_path_and_the_nearest_key() -> None:
    with pytest.raises(ConfigError, match=r"^fill\.side: expected a whole number from 8 to 64"):
        made("fill", Inner, side=1)
    with pytest.raises(ConfigError, match=r"^fill\.sid is not a key of Inner; did you mean fill\.side\?"):
        made("fill", Inner, sid=1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plain:
    side: Annotated[int, Field(ge=8)] = 32


@dataclasses.dataclass(frozen=True, kw_only=True)
class Derived(Inner):
    more: int = 1


def test_a_plain_dataclass_of_a_plugin_is_checked_too() -> None:
    assert made("fill", Plain, side=9) == Plain(side=9)
    with pytest.raises(ConfigError, match=r"^fill\.side: expected a whole number of at least 8, got 7"):
        made("fill", Plain, side=7)
    with pytest.raises(ConfigError, match=r"^fill: Derived derives from a spec: decorate it with @spec"):
        made("fill", Derived, side=8)


def test_a_spec_is_frozen_hashable_and_travels() -> None:
    one = outer(share=1, names=("a",))
    with pytest.raises(dataclasses.FrozenInstanceError):
        one.share = 0.1  # type: ignore[misc]
    assert pickle.loads(pickle.dumps(one)) == one == dataclasses.replace(one, share=1.0)
    assert hash(one) == hash(outer(share=1, names=("a",)))
    with pytest.raises(ConfigError, match="share: expected"):
        dataclasses.replace(one, share=2)


def test_an_error_travels() -> None:
    error = FieldError("side", ": expected 1, got 2", ("side",))
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_fields_carry_their_docstrings_those_of_bases_first() -> None:
    found = {field.name: field for field in fields_of(Outer)}
    assert [*found] == ["side", "inner", "share", "names", "mode", "size"]
    assert (found["side"].about, found["share"].about) == ("Side in pixels.", "Of the image, from its border.")
    assert (found["inner"].required, found["share"].default, found["names"].about) == (True, 0.5, "")


@pytest.mark.parametrize(
    ("hint", "words"),
    [
        (bool, "true or false"),
        (Annotated[float, Field(gt=0)], "a number above 0"),
        (Annotated[int, Field(le=9)], "a whole number of at most 9"),
        (tuple[int, float], "a list of a whole number, then a number"),
        (str | None, "text"),
        (dict[str, str], "keys with values, each text"),
        (Mapping[str, int] | None, "keys with values, each a whole number"),
        (Inner, "keys of their own"),
        (Annotated[int, Field(ge=0, le=1 << 20)], "a whole number from 0 to 1048576"),
        (Annotated[str, Field(pattern=r"^\.", description="a suffix such as .jpg")], "a suffix such as .jpg"),
    ],
)
def test_what_a_field_takes_is_said_in_words(hint: object, words: str) -> None:
    assert expected(hint) == words


@pytest.mark.slow
def test_specs_build_no_validator_when_a_job_is_imported() -> None:
    """Sixty validators at each start would cost more than the import of pydantic."""
    code = "import pipeline.build, pipeline.select as s; print(s.Select.__pydantic_complete__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
