"""Counts segments by score, one histogram a label, over the mask tables of some units."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pipeline.records import Committed
from pipeline.report.unit_tables import read_tables, spread
from pipeline.storage.store import Store

UNITS: Final = 64
"""Maximum number of units whose mask tables are read."""
BINS: Final = 20
"""Bars of a histogram over 0..1."""


@dataclass(frozen=True, kw_only=True)
class Histogram:
    """heights: percent of the highest bar, from score 0 to 1."""

    label: str
    total: int
    heights: tuple[str, ...]


def histograms(store: Store, units: Sequence[Committed]) -> tuple[tuple[Histogram, ...], str]:
    """Return the histograms, the most frequent label first, and a note that says which units they are taken from."""
    found = [record for record in units if record.segments]
    sample = spread(found, UNITS)
    sums: dict[str, NDArray[np.int64]] = {}
    for table in read_tables(store, sample, "masks/", ["label", "score"]):
        scores = table["score"].to_numpy()
        labels = table["label"].to_numpy(zero_copy_only=False)
        for label in np.unique(labels):
            counted, _ = np.histogram(scores[labels == label], BINS, (0.0, 1.0))
            sums[str(label)] = sums.get(str(label), np.zeros(BINS, np.int64)) + counted
    made = tuple(
        Histogram(
            label=label,
            total=int(counts.sum()),
            heights=tuple(f"{100 * count / counts.max():.1f}" if count else "0" for count in counts),
        )
        for label, counts in sorted(sums.items(), key=lambda pair: (-pair[1].sum(), pair[0]))
    )
    if len(sample) < len(found):
        return made, f"Taken from {len(sample):,} of the {len(found):,} units with segments, evenly spread."
    return made, "Taken from all segments." if found else ""
