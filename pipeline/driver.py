"""One run on the driver: check, plan, execute, finish, report."""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol, TextIO

import pipeline
from pipeline import plan as planning
from pipeline.audit.run_audit import Auditor, NoAudit
from pipeline.contracts import Checked
from pipeline.credentials import redact
from pipeline.errors import EXIT_REJECTED, RunError, TooManyRejected
from pipeline.flow import Flow
from pipeline.ledger.ledger import Identity, Ledger
from pipeline.plan import Plan
from pipeline.records import Committed, Shard
from pipeline.report.page import make_page
from pipeline.report.progress import Progress
from pipeline.report.summary import Summary
from pipeline.storage.store import open_store

_JUDGED_AFTER = 500
"""Images after which a run stops when too many of them were rejected: enough to tell a bad config from a bad image."""


class Executor(Protocol):
    def check(self) -> None:
        """Raise ConfigError when its cluster or machine is out of reach. Called before anything is written."""

    def run(self, flow: Flow, plan: Plan) -> Iterator[Committed]:
        """Yield every pending unit as it is committed, in any order."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """flow and executor as the config built them. max_reject_share: above it the exit code is 3. config: the semantic
    part, dotted key -> JSON. yaml: the composed config for a person to read. audit: looks at what was published.
    review_seam: the report lists images whose seam is above it; 0 lists none."""

    flow: Flow
    executor: Executor
    max_reject_share: float
    config: Mapping[str, str]
    yaml: str
    audit: Auditor = field(default_factory=NoAudit)
    review_seam: float = 0.0


def run(job: Job, out: TextIO, err: TextIO) -> int:
    """Run or resume a job; return its exit code. Raises RefusedError before anything is written, RunError after."""
    started = time.monotonic()
    shards = job.flow.source.shards()
    flow = replace(job.flow, source=job.flow.source.resolve(shards))
    ledger = Ledger(open_store(flow.sink.uri), single_writer=flow.sink.single_writer)
    identity = _identity(job, shards)
    before = ledger.committed() if ledger.check(identity) else {}
    plan = planning.with_keys(planning.make(shards, before.values()), ledger.store, before.values())
    print(redact(_announcement(job, plan)), file=out, flush=True)
    records = dict(before)
    if plan.pending:
        job.executor.check()
        job.audit.prepare(flow)
        _prepare(flow, () if before else shards)
        ledger.begin(identity, job.yaml)
        for record in _executed(job, flow, plan, err):
            records[record.unit.unit_id] = record
    if plan.pending or not ledger.finished():
        ledger.finish()
    summary = Summary.of(records.values(), seconds=time.monotonic() - started, before=plan.before.images)
    receipt = job.audit.receipt(flow, ledger.store, new=bool(plan.pending))
    code = EXIT_REJECTED if receipt.problems() else summary.exit_code(job.max_reject_share)
    if plan.pending or not ledger.reported():
        page = make_page(
            ledger.store,
            tuple(records.values()),
            summary,
            name=flow.name,
            private=flow.render.private,
            exit_code=code,
            digest=identity.digest,
            facts={"source": flow.source.uri, "output": ledger.store.uri, "code": identity.code, **identity.weights},
            config=job.config,
            receipt=receipt,
            review_seam=job.review_seam,
        )
        ledger.report(page)
    print(redact(summary.text(_places(job))), file=out, flush=True)
    if receipt.audited:
        print(redact(receipt.text()), file=out, flush=True)
    for problem in receipt.problems():
        print(redact(f"audit: {problem}; look before you publish this output"), file=err)
    if summary.exit_code(job.max_reject_share):
        print(redact(_why_rejected(job, summary)), file=err)
    return code


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


def _executed(job: Job, flow: Flow, plan: Plan, err: TextIO) -> Iterator[Committed]:
    """Yield every unit of the plan as it is committed, with a progress line; stop a run that rejects too much."""
    total, rejects = plan.before, Counter[str]()
    listed = plan.images_pending if job.flow.decode.frames != "all" else None  # a file may hold many images
    with Progress(listed, plan.bytes_pending, err) as progress:
        done = job.executor.run(flow, plan)
        try:
            for record in done:
                progress.advance(record)
                yield record
                total += record.counts
                rejects.update({f"{stage}: {reason}": count for stage, reason, count in record.rejects})
                if total.images >= _JUDGED_AFTER and total.rejected > job.max_reject_share * total.images:
                    raise TooManyRejected(
                        f"stopped after {total.images} images: {total.rejected} were rejected, more than "
                        f"max_reject_share={job.max_reject_share}; most at {rejects.most_common(1)[0][0]}"
                    )
        except OSError as error:
            raise RunError(f"the run lost its storage: {error}; the same command resumes it") from error


def _identity(job: Job, shards: tuple[Shard, ...]) -> Identity:
    return Identity(
        config=job.config,
        weights={weights.uri: weights.sha256 for weights in job.flow.weights},
        code=code_version(),
        source={shard.path: f"{shard.size}:{shard.etag}" for shard in shards},
    )


def code_version() -> str:
    """The release and a hash over the package's own sources: only the same code is sure to write the same bytes."""
    root = Path(pipeline.__file__).parent
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return f"{pipeline.__version__}+{digest.hexdigest()[:12]}"


def _announcement(job: Job, plan: Plan) -> str:
    what = f"{job.flow.name}: {plan.shards} shards, {plan.bytes / 2**20:.1f} MiB at {job.flow.source.uri}"
    if not plan.before.images:
        return what
    if not plan.pending:
        return f"{what}; all {plan.before.images} images were committed by an earlier run, nothing left to do"
    left = f"{len(plan.pending)} shards have work left"
    return f"{what}; resuming: {plan.before.images} images were committed before, {left}"


def _places(job: Job) -> list[tuple[str, str]]:
    store = open_store(job.flow.sink.uri)
    rendered = [
        (kind, store.join(f"rendered/{kind}")) for kind in job.flow.render.outputs if job.flow.sink.images != "none"
    ]
    return [
        ("masks", store.join("masks")),
        ("index", store.join("images")),
        *rendered,
        ("report", store.join("report/index.html")),
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
