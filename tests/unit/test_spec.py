"""spec.py: what an annotation allows, in words."""

from __future__ import annotations

from typing import Annotated

import pytest
from pydantic import Field

from pipeline.errors import ConfigError
from pipeline.spec import expected, fields_of, spec

Suffix = Annotated[str, Field(pattern=r"^\.[a-z]+$", description="a suffix such as .jpg")]


@spec
class Reads:
    """A spec with a pattern."""

    suffixes: Annotated[tuple[Suffix, ...], Field(min_length=1)] = (".jpg",)
    """Those of images."""


def test_a_description_says_what_a_pattern_takes() -> None:
    assert expected(Suffix) == "a suffix such as .jpg"
    assert expected(Annotated[tuple[Suffix, ...], Field(min_length=1)]) == (
        "a list of at least 1, each a suffix such as .jpg"
    )
    (field,) = fields_of(Reads)
    assert (field.expected, field.about) == ("a list of at least 1, each a suffix such as .jpg", "Those of images.")
    with pytest.raises(ConfigError, match=r"suffixes\[1\]: expected .*each a suffix such as \.jpg, got 'x'"):
        Reads(suffixes=(".png", "x"))
