"""A pytest plugin that counts, for each promise, how often it was tried and held, in a table and in RELIABILITY.md."""

import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Generator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest

BEGIN, END = "<!-- promises: written by make chaos -->", "<!-- end of promises -->"


@dataclass
class Case:
    """One test of one or more promises. It counts as one try, or as its recorded `tried` and `held`."""

    name: str
    promises: tuple[str, ...]
    recorded: dict[str, int] = field(default_factory=dict)
    fault: str = ""
    skipped: str = ""

    @property
    def tried(self) -> int:
        return 0 if self.skipped else self.recorded.get("tried", 1)

    @property
    def held(self) -> int:
        held = self.recorded.get("held", 0) if "tried" in self.recorded else self.tried
        return max(0, min(held, self.tried - 1)) if self.fault else held

    @property
    def note(self) -> str:
        """Why it did not hold or was not tried; empty when it held."""
        if self.skipped:
            return f"skipped: {self.name}: {self.skipped}"
        missed = f"missed: {self.name}: {self.fault or f'held {self.held} of {self.tried}'}"
        return missed if self.held < self.tried else ""


class Promises:
    """Collects the cases of one session."""

    def __init__(self, config: pytest.Config, into: Path | None) -> None:
        self.config, self.into = config, into
        self.cases: dict[str, Case] = {}
        self.started = datetime.now(UTC)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Attach the promises to the report: under `-n` the counting process is not the one that runs the test."""
        report = yield
        texts = (str(marker.args[0]) for marker in item.iter_markers("promise"))
        report.user_properties += [("promise", text[:1].upper() + text[1:]) for text in texts]
        return report

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        promises = tuple(dict.fromkeys(str(value) for key, value in report.user_properties if key == "promise"))
        if not promises:
            return
        case = self.cases.setdefault(report.nodeid, Case(report.nodeid, promises))
        known = getattr(report, "wasxfail", None)
        if report.failed or known is not None:
            case.fault = case.fault or _short(known or _message(report))
        elif report.skipped:
            reason = report.longrepr[2] if isinstance(report.longrepr, tuple | list) else report.longreprtext
            case.skipped = _short(str(reason).removeprefix("Skipped: "))
        if report.when == "call":
            for name in ("tried", "held"):
                values = [int(str(value)) for key, value in report.user_properties if key == name]
                case.recorded.update({name: sum(values)} if values else {})

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        unnoticed = [case for case in self.cases.values() if case.held < case.tried and not case.fault]
        if unnoticed and exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
        complete = exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED)
        if self.into and self.cases and complete:
            before, _, rest = self.into.read_text().partition(BEGIN)
            self.into.write_text(f"{before}{BEGIN}\n{self._markdown()}\n{END}{rest.partition(END)[2]}")

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self.cases:
            terminalreporter.section("promises")
            terminalreporter.write_line("\n".join(["  tried    held  promise", *self._lines()]))

    def rows(self) -> list[tuple[str, int, int]]:
        """(promise, tried, held), sorted."""
        names = sorted({promise for case in self.cases.values() for promise in case.promises}, key=str.casefold)
        of = {name: [case for case in self.cases.values() if name in case.promises] for name in names}
        return [(name, sum(c.tried for c in of[name]), sum(c.held for c in of[name])) for name in names]

    def _lines(self) -> list[str]:
        rows = [f"{tried:7} {held:7}  {name}{' <-- MISSED' * (held < tried)}" for name, tried, held in self.rows()]
        return [*rows, *self._notes()]

    def _notes(self) -> list[str]:
        return [case.note for case in self.cases.values() if case.note]

    def _markdown(self) -> str:
        minutes = (datetime.now(UTC) - self.started).total_seconds() / 60
        command = shlex.join(["python", "-m", "pytest", *self.config.invocation_params.args])
        rows = self.rows()
        tried, held = sum(row[1] for row in rows), sum(row[2] for row in rows)
        return "\n".join(
            [
                f"{self.started:%Y-%m-%d}, commit {_commit(self.config.rootpath)}, {os.cpu_count()} cores, "
                f"{platform.system()} {platform.machine()}, Python {sys.version.split()[0]}, {minutes:.0f} minutes:",
                "",
                f"    {command}",
                "",
                "| Promise | tried | held |",
                "|---|---:|---:|",
                *(f"| {_cell(name)} | {tried} | {held} |" for name, tried, held in rows),
                f"| **all** | **{tried}** | **{held}** |",
                *(["", *(f"- {_cell(note)}" for note in self._notes())] if self._notes() else []),
            ]
        )


def _message(report: pytest.TestReport) -> str:
    crash = getattr(report.longrepr, "reprcrash", None)
    return str(crash.message if crash else report.longreprtext)


def _short(text: str) -> str:
    line = next((line for line in text.splitlines() if line.strip()), "failed")
    return line if len(line) <= 200 else f"{line[:200]}..."


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


def _commit(root: Path) -> str:
    """The short hash, and whether the tree differs from it; `unknown` outside a checkout."""

    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=True).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no", "--", ":!RELIABILITY.md")
        return git("rev-parse", "--short=12", "HEAD") + (" with changes" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--promises", metavar="FILE", help="write the table of promises into FILE, between its two marks")


def pytest_configure(config: pytest.Config) -> None:
    name = config.getoption("--promises")
    into = Path(name) if name and not hasattr(config, "workerinput") else None  # worker processes of `-n` write nothing
    if into and not (into.is_file() and BEGIN in into.read_text() and END in into.read_text()):
        raise pytest.UsageError(f"--promises={name}: expected a file with the lines {BEGIN!r} and {END!r}")
    config.pluginmanager.register(Promises(config, into), "segfill-promises")
