"""What does a run look like? Makes `report/index.html` of the output: one file that needs nothing else.

Every string on the page comes from data that nobody checked. Jinja's autoescape makes markup inert, the page's own
content security policy allows no script, no request and no image but those inside it.
"""

from __future__ import annotations

import base64
import io
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any, Final

import jinja2
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.audit.receipt import Receipt
from pipeline.errors import EXIT_OK
from pipeline.records import Committed
from pipeline.report.progress import duration
from pipeline.report.summary import Summary
from pipeline.storage.store import Store

NOTHING_AUDITED: Final = Receipt()

SCORE_UNITS: Final = 64
"""Units whose mask tables the histograms are made of."""
SEAM_UNITS: Final = 256
"""Units in whose index visible seams are looked for."""
SEAMS: Final = 24
"""Images with a visible seam that are shown."""
GALLERY: Final = 24
"""Images in the sample."""
REJECTS: Final = 500
"""Rejected images that are shown."""
ROWS: Final = 20
"""Rows of a table before the rest is only counted."""
BINS: Final = 20
"""Bars of a histogram over 0..1."""
AT_ONCE: Final = 16
"""Unit files that are in memory at one time."""

_COLOURS: Final = ("#4a7fb5", "#d08a3e", "#5f9e6e", "#b75d69", "#8673b3", "#9c8465", "#c98bb9", "#6f7f8f", "#a3a64a")


@dataclass(frozen=True, kw_only=True)
class State:
    """How the run ended: a word for the badge, a sentence, and the badge's tone (good, warn, bad)."""

    word: str
    sentence: str
    tone: str


@dataclass(frozen=True, kw_only=True)
class Stage:
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
class Histogram:
    """heights: percent of the highest bar, from score 0 to 1."""

    label: str
    total: int
    heights: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Picture:
    """images: (what it shows, data URI or empty); none when no preview was kept. note: stands behind the key."""

    key: str
    images: tuple[tuple[str, str], ...]
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Reject:
    key: str
    stage: str
    reason: str
    detail: str
    uri: str


@dataclass(frozen=True, kw_only=True)
class Page:
    """All that the template shows, ready to print."""

    job: str
    digest: str
    state: State
    summary: Summary
    bytes_in: str
    speed: str
    took: str
    stages: tuple[Stage, ...]
    labels: tuple[Row, ...]
    reasons: tuple[Row, ...]
    histograms: tuple[Histogram, ...]
    scores_note: str
    gallery: tuple[Picture, ...]
    gallery_note: str
    seams: tuple[Picture, ...]
    seams_note: str
    rejects: tuple[Reject, ...]
    facts: tuple[tuple[str, str], ...]
    config: tuple[tuple[str, str], ...]
    receipt: tuple[tuple[str, str], ...]
    passed: bool
    rows: int = ROWS


def make_page(
    store: Store,
    records: Sequence[Committed],
    summary: Summary,
    *,
    name: str,
    private: bool,
    exit_code: int,
    digest: str,
    facts: Mapping[str, str],
    config: Mapping[str, str],
    receipt: Receipt = NOTHING_AUDITED,
    review_seam: float = 0.0,
) -> bytes:
    """The page of a run. store: of its output.

    records: every commit record of the output; summary: of the same. name: of the job. private: the run shows no
    original, as its workers made the previews. exit_code: how the run ends. digest: of its identity. facts, config:
    what made this output, shown as they come. receipt: of the audit. review_seam: filled images with a seam above it
    are listed; 0 lists none. Raises OSError when the store does not give the bytes.
    """
    units = sorted(records, key=lambda record: (record.unit.shard, record.unit.start))
    histograms, scores_note = _scores(store, units)
    gallery, gallery_note = _gallery(store, units, private)
    seams, seams_note = _seams(store, units, review_seam)
    page = Page(
        job=name,
        digest=digest[:12],
        state=_state(summary, exit_code, receipt.problems()),
        receipt=tuple(receipt.rows()) if receipt.audited else (),
        passed=not receipt.problems(),
        summary=summary,
        bytes_in=_size(summary.bytes_in),
        speed=f"{summary.images_per_second:.1f}" if summary.fresh else "-",
        took=f"{summary.fresh:,} images in {duration(summary.wall)}" if summary.fresh else "nothing was left to do",
        stages=_stages(summary),
        labels=_bars(summary.segments.items()),
        reasons=_bars((f"{stage}: {reason}", number) for (stage, reason), number in summary.rejects.items()),
        histograms=histograms,
        scores_note=scores_note,
        gallery=gallery,
        gallery_note=gallery_note,
        seams=seams,
        seams_note=seams_note,
        rejects=_rejects(store, units),
        facts=tuple(facts.items()),
        config=tuple(config.items()),
    )
    # A name in a tar may hold bytes that are no UTF-8: they become \xNN instead of an error at the end of a run.
    return render(page).encode("utf-8", "backslashreplace")


def render(page: Page) -> str:
    """The HTML of a page."""
    template = resources.files("pipeline.report").joinpath("page.html").read_text("utf-8")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(template).render(page=page, n=_number, share=_share)


# --- what the commit records tell ------------------------------------------------------------------------------


def _state(summary: Summary, exit_code: int, problems: Sequence[str]) -> State:
    counts = summary.counts
    if problems:
        why = f"The audit did not pass (exit code {exit_code}): {'; '.join(problems)}."
        return State(word="needs a look", sentence=why, tone="bad")
    if exit_code != EXIT_OK:
        why = f"exit code {exit_code}: {counts.rejected:,} of {counts.images:,} images were rejected"
        shards = f"; shards that could not be read to their end: {len(summary.failed):,}" if summary.failed else ""
        return State(word="needs a look", sentence=f"The run ended with {why}{shards}.", tone="bad")
    if counts.rejected:
        sentence = f"All images are accounted for; rejected and not in the output: {counts.rejected:,}."
        return State(word="finished", sentence=sentence, tone="warn")
    return State(word="finished", sentence="All images are accounted for; none was rejected.", tone="good")


def _stages(summary: Summary) -> tuple[Stage, ...]:
    whole = sum(summary.stages.values())
    return tuple(
        Stage(
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
    most = max((number for _, number in rows), default=0)
    return tuple(Row(name=name, count=number, percent=f"{100 * number / most:.1f}") for name, number in rows)


# --- what the tables tell --------------------------------------------------------------------------------------


def _scores(store: Store, units: Sequence[Committed]) -> tuple[tuple[Histogram, ...], str]:
    """Histograms by label over the mask tables of some units, and what to say about the choice."""
    found = [record for record in units if record.segments]
    sample = _spread(found, SCORE_UNITS)
    sums: dict[str, np.ndarray[tuple[int], np.dtype[np.int64]]] = {}
    for table in _tables(store, sample, "masks/", ["label", "score"]):
        scores = table["score"].to_numpy()
        labels = table["label"].to_numpy(zero_copy_only=False)
        for label in np.unique(labels):
            counted, _ = np.histogram(scores[labels == label], BINS, (0.0, 1.0))
            sums[str(label)] = sums.get(str(label), np.zeros(BINS, np.int64)) + counted
    histograms = tuple(
        Histogram(
            label=label,
            total=int(counts.sum()),
            heights=tuple(f"{100 * count / counts.max():.1f}" if count else "0" for count in counts),
        )
        for label, counts in sorted(sums.items(), key=lambda pair: (-pair[1].sum(), pair[0]))
    )
    if len(sample) < len(found):
        return histograms, f"Taken from {len(sample):,} of the {len(found):,} units with segments, evenly spread."
    return histograms, "Taken from all segments." if found else ""


def _gallery(store: Store, units: Sequence[Committed], private: bool) -> tuple[tuple[Picture, ...], str]:
    """Previews of whole images, evenly over the units, and what to say about them."""
    sample = _spread([record for record in units if record.counts.written + record.counts.unchanged], GALLERY)
    each = -(-GALLERY // len(sample)) if sample else 0
    pictures: list[Picture] = []
    for table in _tables(store, sample, "_previews/", None):
        rows = table.filter(pc.greater(pc.binary_length(table["mask"]), 0))  # rejected images have none
        for index in _spread(range(rows.num_rows), each):
            row = rows.slice(index, 1).to_pylist()[0]
            pictures.append(Picture(key=row["key"], images=_three(row)))
    note = (
        "Images with a segment, evenly spread over the output. Mask: segments in colour, the rest of the region white."
    )
    if private:
        note = "No original is shown: before has its region blanked. " + note
    return tuple(pictures[:GALLERY]), note if pictures else "No previews were kept."


def _seams(store: Store, units: Sequence[Committed], above: float) -> tuple[tuple[Picture, ...], str]:
    """Filled images whose seam is above `above`, the worst first, and what to say about them; "" when nobody asked or
    nothing was filled."""
    written = [record for record in units if record.counts.written] if above else []
    sample = _spread(written, SEAM_UNITS)
    filled = visible = 0
    worst: list[dict[str, Any]] = []
    for table in _tables(store, sample, "images/", ["image_id", "key", "unit", "filled_share", "seam"]):
        filled += int((table["filled_share"].to_numpy() > 0).sum())
        found = table.filter(pc.greater(table["seam"], above)).to_pylist()
        visible += len(found)
        worst += found
        worst = sorted(worst, key=lambda row: -row["seam"])[:SEAMS]
    if not filled:
        return (), ""
    holders = {row["unit"] for row in worst}
    images: dict[str, tuple[tuple[str, str], ...]] = {}
    for table in _tables(store, [record for record in sample if record.unit.unit_id in holders], "_previews/", None):
        rows = table.filter(pc.is_in(table["image_id"], pa.array([row["image_id"] for row in worst])))
        images |= {row["image_id"]: _three(row) for row in rows.to_pylist()}
    note = (
        f"{visible:,} of {filled:,} filled images have a seam above {above:g}; at 1 the border of a fill is invisible."
    )
    if len(sample) < len(written):
        note += f" Looked for in {len(sample):,} of the {len(written):,} units, evenly spread; images/ has every seam."
    elif visible > len(worst):
        note += f" The worst {len(worst)}; images/ has every seam."
    return tuple(
        Picture(key=row["key"], images=images.get(row["image_id"], ()), note=f"seam {row['seam']:.1f}") for row in worst
    ), note


def _rejects(store: Store, units: Sequence[Committed]) -> tuple[Reject, ...]:
    """The first rejected images in source order, with a picture where a worker could make one."""
    needed = _first_with_rejects(units)
    pictures: dict[str, bytes] = {}
    for table in _tables(store, needed, "_previews/", ["image_id", "before", "mask"]):
        rows = table.filter(pc.equal(pc.binary_length(table["mask"]), 0))
        pictures |= dict(zip(rows["image_id"].to_pylist(), rows["before"].to_pylist(), strict=True))
    found: list[Reject] = []
    for table in _tables(store, needed, "images/", ["image_id", "key", "status", "stage", "reason", "detail"]):
        for row in table.filter(pc.equal(table["status"], "rejected")).to_pylist():
            found.append(
                Reject(
                    key=row["key"],
                    stage=row["stage"],
                    reason=row["reason"],
                    detail=row["detail"],
                    uri=_data_uri(pictures.get(row["image_id"], b"")),
                )
            )
    return tuple(found[:REJECTS])


def _first_with_rejects(units: Sequence[Committed]) -> list[Committed]:
    """The first units that hold `REJECTS` rejected images together, or all that hold any."""
    needed: list[Committed] = []
    number = 0
    for record in units:
        if record.counts.rejected and number < REJECTS:
            needed.append(record)
            number += record.counts.rejected
    return needed


def _tables(store: Store, units: Sequence[Committed], prefix: str, columns: list[str] | None) -> Iterable[pa.Table]:
    """The Parquet file under `prefix` of each unit that has one, a few in memory at a time.

    Previews that somebody deleted after an earlier run are left out; any other missing file is an error.
    """
    paths = [file.path for record in units for file in record.files if file.path.startswith(prefix)]
    if paths and prefix == "_previews/":
        standing = {info.path for info in store.list(prefix)}
        paths = [path for path in paths if path in standing]
    for first in range(0, len(paths), AT_ONCE):
        chosen = paths[first : first + AT_ONCE]
        contents = store.read_many(chosen)
        for path in chosen:
            yield pq.read_table(io.BytesIO(contents[path]), columns=columns)


def _spread(items: Sequence[Any], number: int) -> list[Any]:
    """At most `number` of the items, evenly spread, in order."""
    if len(items) <= number:
        return list(items)
    return [items[(2 * i + 1) * len(items) // (2 * number)] for i in range(number)]


# --- how it is printed -----------------------------------------------------------------------------------------


def _three(row: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    return tuple((word, _data_uri(row[word])) for word in ("before", "mask", "after"))


def _data_uri(image: bytes) -> str:
    """An image inside the page. Anything that is not a JPEG or PNG by its first bytes is left out."""
    for magic, kind in ((b"\xff\xd8\xff", "jpeg"), (b"\x89PNG\r\n", "png")):
        if image.startswith(magic):
            return f"data:image/{kind};base64,{base64.b64encode(image).decode()}"
    return ""


def _number(value: int) -> str:
    return f"{value:,}"


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "-"


def _size(number: int) -> str:
    """Bytes for a person: `3.1 MB`."""
    value = float(number)
    for word in ("bytes", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {word}" if word == "bytes" else f"{value:.1f} {word}"
        value /= 1000
    return f"{value:,.1f} TB"
