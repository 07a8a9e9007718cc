"""Defaults of every fill."""

from __future__ import annotations

from pipeline.fill.shared.fields import Context
from pipeline.models.weights import Weights
from pipeline.spec import spec


class FillDefaults:
    """Fills, from what surrounds the region and never from what is in it, without weights."""

    @property
    def active(self) -> bool:
        return True

    @property
    def reversible(self) -> bool:
        return False

    @property
    def weights(self) -> tuple[Weights, ...]:
        return ()


@spec
class ContextFill(FillDefaults):
    """Base of fills whose context is a key of the config."""

    context: Context = 0.5
    """Margin of a crop, as a share of the longer side of its part of the region."""
