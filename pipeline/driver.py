"""One run on the driver: check, plan, execute, finish, report."""

from __future__ import annotations

import os
import shlex
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TextIO

from pipeline import life
from pipeline import plan as planning
from pipeline.audit.run_audit import Auditor, NoAudit
from pipeline.contracts import Checked, Listed, Source, TellsUnread, Unread
from pipeline.credentials import redact
from pipeline.errors import EXIT_REJECTED, OutputError, RunError, TooManyRejected
from pipeline.execute.base import Executor
from pipeline.execute.code_version import code_version
from pipeline.flow import Flow
from pipeline.ledger.commit_records import CommitRecords
from pipeline.ledger.ledger import REPORT, Identity, Ledger
from pipeline.plan import Plan
from pipeline.records import Committed, Shard
from pipeline.report.page import make_page
from pipeline.report.progress import Progress, showing
from pipeline.report.summary import Summary
from pipeline.sink.dataset_card import notes
from pipeline.source.listing import as_source_error, places_of
from pipeline.source.unit import UnitLimits
from pipeline.storage.store import open_store

_FIRST_LOOK = "report/first_look.html"
"""The page of a run with a limit, until the whole run has its own."""
_JUDGED_AFTER = 500
"""Images after which a run stops when too many of them were rejected: enough to tell a bad config from a bad image."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """flow and executor as the config built them. max_reject_share: above it the exit code is 3. config: the semantic
    part, dotted key -> JSON. yaml: the composed config for a person to read. audit: looks at what was published.
    review_seam: the report lists images whose seam is above it; 0 lists none. limit: only the first images in source
    order; 0: all."""

    flow: Flow
    executor: Executor
    max_reject_share: float
    config: Mapping[str, str]
    yaml: str
    audit: Auditor = field(default_factory=NoAudit)
    review_seam: float = 0.0
    limit: int = 0


def run(job: Job, out: TextIO, err: TextIO) -> int:
    """Run or resume a job; return its exit code. Raises RefusedError before anything is written, RunError after."""
    with showing(err) as progress:
        return _run(job, out, err, progress)


def _run(job: Job, out: TextIO, err: TextIO, progress: Progress) -> int:
    started = time.monotonic()
    life.phase(f"listing {job.flow.source.uri}")
    _refuse_overlap(job.flow)
    listed = _listed(job.flow.source)
    shards, unread = listed.shards, listed.unread
    source = job.flow.source.resolve(shards)
    flow = replace(job.flow, source=_at_root(source, listed.root) if listed.root else source)
    ledger = Ledger(open_store(flow.sink.uri), single_writer=flow.sink.single_writer)
    identity = _identity(job, shards)
    life.phase("reading what is committed")
    records = ledger.committed() if ledger.check(identity) else CommitRecords()
    resumes = bool(records)
    plan = planning.with_keys(planning.make(shards, records.values()), ledger.store, records.values())
    if job.limit:
        with as_source_error(flow.source.uri):
            plan, source = planning.first(plan, flow.source, job.limit)
        flow = replace(flow, source=source)
    for line in (_announcement(job, plan), *_passed_over(unread)):
        progress.say(redact(line), out)
    if plan.pending:
        life.phase("checking models and places")
        job.executor.check(flow, plan)
        job.audit.prepare(flow)
        _prepare(flow, () if resumes else shards)
        ledger.begin(identity, job.yaml)
        _execute(job, flow, plan, progress, ledger, records)
    life.phase("finishing")
    whole = not job.limit or not planning.make(shards, records.values()).pending
    if whole and (plan.pending or not ledger.finished()):
        ledger.store.delete([_FIRST_LOOK])
        life.phase("checking every file of every unit")
        said = notes(flow.name, flow.classes, flow.render.outputs if flow.sink.images == "parquet" else ())
        ledger.finish(said, records)
    summary = Summary.of(
        records.values(),
        seconds=time.monotonic() - started,
        before=plan.before.images,
        unread=unread,
        fills=flow.fill.active,
    )
    life.phase("auditing")
    receipt = job.audit.receipt(flow, ledger.store, new=bool(plan.pending))
    code = EXIT_REJECTED if receipt.problems() else summary.exit_code(job.max_reject_share)
    life.phase("making the report")
    if plan.pending or (whole and not ledger.reported()):
        page = make_page(
            ledger.store,
            records,
            summary,
            name=flow.name,
            private=flow.render.private,
            exit_code=code,
            digest=identity.digest,
            facts=_facts(job.flow.source.uri, ledger.store.uri, identity, unread),
            config=job.config,
            receipt=receipt,
            review_seam=job.review_seam,
        )
        ledger.report(page) if whole else ledger.store.put(_FIRST_LOOK, page)
    progress.say(redact(summary.text(_places(job, whole))), out)
    if receipt.audited:
        progress.say(redact(receipt.text()), out)
    for problem in receipt.problems():
        progress.say(redact(f"audit: {problem}; look before you publish this output"), err)
    if not whole:
        progress.say(f"{summary.counts.images} images done; the same command without limit does the rest", out)
    if summary.exit_code(job.max_reject_share):
        progress.say(redact(_why_rejected(job, summary)), err)
    return code


def _refuse_overlap(flow: Flow) -> None:
    """Refuse a sink that is the source, or holds it: what a run writes would be read or replaced as its input."""
    if not isinstance(flow.source, TellsUnread):  # a plugin's URI may be none of a store
        return
    sink = open_store(flow.sink.uri)
    place = os.path.realpath(sink.uri) if sink.is_local else sink.uri
    for source in places_of(flow.source.uri):
        if f"{source}/".startswith(f"{place.rstrip('/')}/"):
            what = "is the source itself" if source == place else f"holds the source {source}"
            raise OutputError(f"sink.uri={flow.sink.uri} {what}; choose a folder beside or below the source")


def _at_root(source: Source, root: str) -> Source:
    """The source of several URIs: the index names their common root, to which all paths are relative."""
    return replace(source, uri=root) if isinstance(source, UnitLimits) else source


def _listed(source: Source) -> Listed:
    return source.listed() if isinstance(source, TellsUnread) else Listed(shards=source.shards())


def _passed_over(unread: Unread) -> list[str]:
    lines = [unread.outputs_text()] if unread.outputs else []
    return lines + ([unread.text()] if unread.files else [])


def _facts(uri: str, output: str, identity: Identity, unread: Unread) -> dict[str, str]:
    """What made the output, for its page."""
    passed = {"passed over": "; ".join(_passed_over(unread))} if unread.files or unread.outputs else {}
    return {"source": uri, **passed, "output": output, "code": identity.code, **identity.weights}


def _prepare(flow: Flow, unread: tuple[Shard, ...]) -> None:
    """Check what must be right before anything is written: weights are fetched and verified, and a source that was not
    read before has an image."""
    for weights in flow.weights:
        weights.fetch()
    for part in (*flow.segment, flow.fill):
        if isinstance(part, Checked):
            part.check()
    if unread:
        flow.source.probe(unread)


def _execute(job: Job, flow: Flow, plan: Plan, progress: Progress, ledger: Ledger, records: CommitRecords) -> None:
    """Execute the plan: add each unit to the records as it is committed, and fold these into packs as they grow."""
    packer = ledger.packer()
    try:
        for record in _executed(job, flow, plan, progress):
            records.add(record)
            packer.add(record.unit.unit_id, records.json(record.unit.unit_id))
    except OSError as error:
        raise RunError(f"the run lost its storage: {error}; the same command resumes it") from error


def _executed(job: Job, flow: Flow, plan: Plan, progress: Progress) -> Iterator[Committed]:
    """Yield every unit of the plan as it is committed, with a progress line; stop a run that rejects too much."""
    total, rejects = plan.before, Counter[str]()
    life.phase("reading the first images")
    listed = plan.images_pending if job.flow.decode.frames != "all" else None  # a file may hold many images
    with progress.images(listed, plan.bytes_pending):
        for record in job.executor.run(flow, plan):
            progress.advance(record)
            yield record
            total += record.counts
            rejects.update({f"{stage}: {reason}": count for stage, reason, count in record.rejects})
            if total.images >= _JUDGED_AFTER and total.rejected > job.max_reject_share * total.images:
                raise TooManyRejected(
                    f"stopped after {total.images} images: {total.rejected} were rejected, more than "
                    f"max_reject_share={job.max_reject_share}; most at {rejects.most_common(1)[0][0]}; "
                    "max_reject_share=SHARE, up to 1.0, goes on from here"
                )


def _identity(job: Job, shards: tuple[Shard, ...]) -> Identity:
    return Identity(
        config=job.config,
        weights={weights.uri: weights.sha256 for weights in job.flow.weights},
        code=code_version(),
        source={shard.path: f"{shard.size}:{shard.etag}" for shard in shards},
    )


def _announcement(job: Job, plan: Plan) -> str:
    shards = "1 shard" if plan.shards == 1 else f"{plan.shards:,} shards"
    what = f"{job.flow.name}: {shards}, {plan.bytes / 2**20:.1f} MiB at {job.flow.source.uri}"
    if job.limit:
        what += f"; the first {job.limit} images only"
    if not plan.before.images:
        return what
    if not plan.pending:
        return (
            f"{what}; all {plan.before.images} images were committed by an earlier run, nothing left to do; "
            f"segfill verify {shlex.quote(job.flow.sink.uri)} checks their bytes"
        )
    left = "1 shard has work left" if len(plan.pending) == 1 else f"{len(plan.pending):,} shards have work left"
    return f"{what}; resuming: {plan.before.images} images were committed before, {left}"


def _places(job: Job, whole: bool) -> list[tuple[str, str]]:
    store = open_store(job.flow.sink.uri)
    rendered = [
        (kind, store.join(f"rendered/{kind}")) for kind in job.flow.render.outputs if job.flow.sink.images != "none"
    ]
    return [
        ("masks", store.join("masks")),
        ("index", store.join("images")),
        *rendered,
        ("report", store.join(REPORT if whole else _FIRST_LOOK)),
    ]


def _why_rejected(job: Job, summary: Summary) -> str:
    if summary.failed:
        shard, reason = summary.failed[0]
        return (
            f"{len(summary.failed)} of the shards could not be read to their end (first: {shard}, {reason}); "
            "images may be missing: mend the source and run into a new output"
        )
    (stage, reason), count = next(iter(summary.rejects.items()))
    return (
        f"{summary.counts.rejected} of {summary.counts.images} images were rejected ({summary.reject_share:.1%}), "
        f"more than max_reject_share={job.max_reject_share}; most at {stage}: {reason} ({count}); "
        "the report shows them, and max_reject_share=SHARE accepts more"
    )
