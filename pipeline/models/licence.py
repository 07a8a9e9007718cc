"""Which licences of weights a run accepts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, Literal

from pipeline.errors import WeightsError
from pipeline.models.weights import Weights
from pipeline.spec import spec

COMMERCIAL: Final = frozenset(
    {"MIT", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "Unlicense", "CC0-1.0", "CC-BY-4.0", "0BSD", "Zlib"}
)
"""SPDX names of licences that allow commercial use and ask for nothing but to name the authors."""

CONDITIONS: Final[Mapping[str, str]] = {
    **dict.fromkeys(
        ("CreativeML OpenRAIL-M", "CreativeML OpenRAIL++-M"),
        "allows commercial use, but none of the uses that its attachment A lists, and asks that these limits go along "
        "with the weights",
    ),
    "SAM License": "allows commercial use, but none for warfare, nuclear industries, espionage or weapons, and asks "
    "that its text goes along with the weights",
}
"""Licences that allow commercial use on conditions, with the conditions. A user has to read and accept them."""


@spec
class Policy:
    """Which licences of weights a run accepts."""

    licence: Literal["any", "commercial"] = "any"
    """commercial: refuse weights whose licence is not known to allow commercial use."""
    accept: tuple[str, ...] = ()
    """Further licences that you have read and accept, named as in the weights' yaml."""

    def check(self, weights: Iterable[Weights]) -> None:
        """Raise WeightsError, with the weights and their licence, for the first licence that is not accepted."""
        if self.licence == "any":
            return
        for one in weights:
            if one.licence not in COMMERCIAL and one.licence not in self.accept:
                known = CONDITIONS.get(one.licence, "is not known to allow commercial use")
                raise WeightsError(
                    f"policy.licence=commercial: {one.uri} is under {one.licence}, which {known}; choose other "
                    f"weights, or policy.accept=[{one.licence}] if it allows yours"
                )
