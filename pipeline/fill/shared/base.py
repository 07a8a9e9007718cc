"""What is a fill unless it says otherwise?"""

from __future__ import annotations

from pipeline.models.weights import Weights


class FillDefaults:
    """It fills, from what surrounds the region and never from what is in it, without weights."""

    @property
    def active(self) -> bool:
        return True

    @property
    def reversible(self) -> bool:
        return False

    @property
    def weights(self) -> tuple[Weights, ...]:
        return ()
