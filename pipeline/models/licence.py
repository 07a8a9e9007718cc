"""What a run may use: the licences of its weights."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from pipeline.errors import ConfigError, WeightsError
from pipeline.models.weights import Weights

COMMERCIAL: Final = frozenset(
    {"MIT", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "Unlicense", "CC0-1.0", "CC-BY-4.0", "0BSD", "Zlib"}
)
"""SPDX names that allow commercial use without further conditions than to name the authors."""

CONDITIONS: Final[Mapping[str, str]] = {
    **dict.fromkeys(
        ("CreativeML OpenRAIL-M", "CreativeML OpenRAIL++-M"),
        "allows commercial use, but none of the uses that its attachment A lists, and asks that these limits go along "
        "with the weights",
    ),
    "SAM License": "allows commercial use, but none for warfare, nuclear industries, espionage or weapons, and asks "
    "that its text goes along with the weights",
}
"""Licences that allow commercial use on conditions, and what those are: to be read and accepted, never assumed."""


@dataclass(frozen=True, kw_only=True)
class Policy:
    """licence: `any`, or `commercial`: only weights whose licence is known to allow commercial use. accept: licences
    that you have read and accept besides, by the name that the weights' yaml gives them."""

    licence: Literal["any", "commercial"] = "any"
    accept: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.licence not in ("any", "commercial"):
            raise ConfigError(f"policy.licence: expected any or commercial, got {self.licence!r}")

    def check(self, weights: Iterable[Weights]) -> None:
        """Raises WeightsError that names the weights and their licence."""
        if self.licence == "any":
            return
        for one in weights:
            if one.licence not in COMMERCIAL and one.licence not in self.accept:
                known = CONDITIONS.get(one.licence, "is not known to allow commercial use")
                raise WeightsError(
                    f"policy.licence=commercial: {one.uri} is under {one.licence}, which {known}; choose other "
                    f"weights, or policy.accept=[{one.licence}] if it allows yours"
                )
