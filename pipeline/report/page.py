"""Makes the report of a run: `report/index.html` of the output, one file without references to others.

Every text on the page comes from unchecked data. Jinja's autoescape makes markup inert, and the page's own content
security policy allows no script, no request, and no image but those inside the page.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Final

import jinja2

from pipeline.audit.receipt import Receipt
from pipeline.errors import EXIT_OK
from pipeline.records import Committed
from pipeline.report.pictures import Picture, Reject, Review, gallery, rejects, review
from pipeline.report.progress import duration
from pipeline.report.scores import Histogram, histograms
from pipeline.report.summary import Summary
from pipeline.report.unit_tables import spread
from pipeline.storage.store import Store

NO_AUDIT: Final = Receipt()
ROWS: Final = 20
"""Rows of a table before the rest is only counted."""
UNITS: Final = 5_000
"""Maximum number of units whose tables a page looks into."""

_COLOURS: Final = ("#4a7fb5", "#d08a3e", "#5f9e6e", "#b75d69", "#8673b3", "#9c8465", "#c98bb9", "#6f7f8f", "#a3a64a")


@dataclass(frozen=True, kw_only=True)
class State:
    """How the run ended: the badge's text, a sentence, and the badge's tone (good, warn, bad)."""

    badge: str
    sentence: str
    tone: str


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Time of one stage, summed over all workers. percent: of all stages. each: milliseconds an image."""

    name: str
    percent: str
    time: str
    each: str
    colour: str


@dataclass(frozen=True, kw_only=True)
class Row:
    """One bar. percent: of the longest bar."""

    name: str
    count: int
    percent: str


@dataclass(frozen=True, kw_only=True)
class Page:
    """All values of the template, ready to print."""

    job: str
    digest: str
    state: State
    summary: Summary
    bytes_in: str
    speed: str
    took: str
    stages: tuple[Timing, ...]
    labels: tuple[Row, ...]
    reasons: tuple[Row, ...]
    histograms: tuple[Histogram, ...]
    scores_note: str
    legend: tuple[tuple[str, str], ...]
    gallery: tuple[Picture, ...]
    gallery_note: str
    review: Review
    rejects: tuple[Reject, ...]
    facts: tuple[tuple[str, str], ...]
    config: tuple[tuple[str, str], ...]
    receipt: tuple[tuple[str, str], ...]
    passed: bool
    rows: int = ROWS


def make_page(
    store: Store,
    records: Mapping[str, Committed],
    summary: Summary,
    *,
    name: str,
    private: bool,
    exit_code: int,
    digest: str,
    facts: Mapping[str, str],
    config: Mapping[str, str],
    receipt: Receipt = NO_AUDIT,
    review_seam: float = 0.0,
) -> bytes:
    """Return the page of a run as UTF-8. Raises OSError when the store cannot be read.

    store: the output. records: every commit record of it, by unit id; at most `UNITS` of them are looked into. summary:
    of the same records. name: of the job. private: the previews show no original region. digest: of the run's identity.
    facts, config: what made the output, printed as given. receipt: of the audit. review_seam: filled images with a
    larger seam are listed; 0 lists none.
    """
    sampled = [records[unit] for unit in spread(sorted(records), UNITS)]  # ids sort as the source does
    units = sorted(sampled, key=lambda record: (record.unit.shard, record.unit.start))
    scores, scores_note = histograms(store, units)
    sample, gallery_note = gallery(store, units, private)
    looked = review(store, units, review_seam)
    seen = {found.label: found for picture in (*sample, *looked.seams) for found in picture.found}
    page = Page(
        job=name,
        digest=digest[:12],
        state=_state(summary, exit_code, receipt.problems()),
        receipt=tuple(receipt.rows()) if receipt.audited else (),
        passed=not receipt.problems(),
        summary=summary,
        bytes_in=_size(summary.bytes_in),
        speed=f"{summary.images_per_second:.1f}" if summary.fresh else "-",
        took=f"{summary.fresh:,} images in {duration(summary.wall)}" if summary.fresh else "nothing left to do",
        stages=_timings(summary),
        labels=_bars(summary.segments.items()),
        reasons=_bars((f"{stage}: {reason}", number) for (stage, reason), number in summary.rejects.items()),
        histograms=scores,
        scores_note=scores_note,
        legend=tuple((found.label, found.colour) for found in seen.values()),
        gallery=sample,
        gallery_note=gallery_note,
        review=looked,
        rejects=rejects(store, units),
        facts=(*facts.items(), *_sampled(len(units), len(records))),
        config=tuple(config.items()),
    )
    # A name in a tar may hold bytes that are not UTF-8: they become \xNN instead of an error at the end of a run.
    return render(page).encode("utf-8", "backslashreplace")


def render(page: Page) -> str:
    """Return the HTML of a page."""
    template = resources.files("pipeline.report").joinpath("page.html").read_text("utf-8")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(template).render(page=page, n=_number, share=_share)


def _state(summary: Summary, exit_code: int, problems: Sequence[str]) -> State:
    counts = summary.counts
    if problems:
        why = f"The audit did not pass (exit code {exit_code}): {'; '.join(problems)}."
        return State(badge="needs review", sentence=why, tone="bad")
    if exit_code != EXIT_OK:
        why = f"exit code {exit_code}: {counts.rejected:,} of {counts.images:,} images were rejected"
        shards = f"; shards that could not be read to their end: {len(summary.failed):,}" if summary.failed else ""
        return State(badge="needs review", sentence=f"The run ended with {why}{shards}.", tone="bad")
    if counts.rejected:
        sentence = f"All images are accounted for; rejected and not in the output: {counts.rejected:,}."
        return State(badge="finished", sentence=sentence, tone="warn")
    return State(badge="finished", sentence="All images are accounted for; none was rejected.", tone="good")


def _sampled(units: int, records: int) -> tuple[tuple[str, str], ...]:
    what = f"of {units:,} of the {records:,} units, drawn evenly by their ids; the counts are of all"
    return (("pictures, scores, rejected images", what),) if units < records else ()


def _timings(summary: Summary) -> tuple[Timing, ...]:
    whole = sum(summary.stages.values())
    return tuple(
        Timing(
            name=stage,
            percent=f"{100 * spent / whole:.1f}" if whole else "0.0",
            time=duration(spent),
            each=f"{1000 * spent / summary.counts.images:.1f}" if summary.counts.images else "-",
            colour=colour,
        )
        for (stage, spent), colour in zip(summary.stages.items(), itertools.cycle(_COLOURS), strict=False)
    )


def _bars(pairs: Iterable[tuple[str, int]]) -> tuple[Row, ...]:
    rows = tuple(pair for pair in pairs if pair[1])
    longest = max((number for _, number in rows), default=0)
    return tuple(Row(name=name, count=number, percent=f"{100 * number / longest:.1f}") for name, number in rows)


def _number(value: int) -> str:
    return f"{value:,}"


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "-"


def _size(number: int) -> str:
    """Return bytes in a readable unit: `3.1 MB`."""
    value = float(number)
    for unit in ("bytes", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "bytes" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:,.1f} TB"
