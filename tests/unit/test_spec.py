"""What a spec says of the values that its fields take."""

from collections.abc import Mapping

from pipeline.spec import expected


def test_a_mapping_says_what_its_values_are():
    assert expected(Mapping[str, str] | None) == "keys with values, each text"
    assert expected(dict[str, int]) == "keys with values, each a whole number"
