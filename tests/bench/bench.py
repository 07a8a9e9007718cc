"""The speed of Segfill beside a hand-written loop and other tools: python -m tests.bench.bench

All entries run one after the other, on the same images with the same detector at the same size, each in its own
process under the same memory sampler. Prints the table and writes BENCHMARKS.md.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from jobs.demo_shards import BENCH_SIZE, build_bench
from tests.bench import sampler
from tests.bench.environments import PINS, python_of
from tests.bench.outcome import ALIKE, outcome

ROOT: Final = Path(__file__).parents[2]
HERE: Final = Path(__file__).parent
HOME: Final = ROOT / ".bench"
CORES: Final = len(os.sched_getaffinity(0))


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One row to run. command: from the folder of images and an empty output to what to start. warm: it says itself how
    many seconds count, without its start-up."""

    name: str
    what: str
    command: Callable[[Path, Path], list[str]]
    warm: bool = False


@dataclass(frozen=True, kw_only=True)
class Result:
    """speed: images/s over the time that counts. loop: without start-up, where an entry tells it. Both are medians.

    driver, all: peak PSS in MiB. faces: images with a face, where an entry tells it. failure: why there are no figures.
    """

    entry: Entry
    images: int = 0
    speed: float = 0.0
    loop: float = 0.0
    driver: float = 0.0
    all: float = 0.0
    faces: int | None = None
    failure: str = ""


def _ours(module: str) -> Callable[[Path, Path], list[str]]:
    return lambda images, out: [sys.executable, "-m", f"tests.bench.{module}", str(images / "shards"), str(out / "out")]


def _spec(images: Path, out: Path) -> list[str]:
    where = [f"source.uri={images / 'shards'}", f"sink.uri={out / 'out'}"]
    return [sys.executable, "-m", "jobs.anonymize", *where, "execute=ray", *ALIKE]


def _peer(peer: str, script: str, kind: str, *rest: str) -> Callable[[Path, Path], list[str]]:
    def command(images: Path, out: Path) -> list[str]:
        return [
            "env",
            f"PYTHONPATH={HERE}",
            str(python_of(peer, HOME)),
            str(HERE / script),
            str(images / kind),
            str(out / "out"),
            *rest,
        ]

    return command


ENTRIES: Final = (
    Entry(name="a", what="floor: a process a core, by hand", command=_ours("floor")),
    Entry(name="b cold", what="Segfill anonymize on Ray, start-up included", command=_spec),
    Entry(name="b warm", what="Segfill anonymize on Ray, second run", command=_ours("segfill_warm"), warm=True),
    Entry(name="c", what="naive Ray Data script", command=_peer("naive_ray", "naive_ray.py", "shards")),
    Entry(name="d", what="deface, one command", command=_peer("deface", "deface_cli.py", "files", "1")),
    Entry(
        name="d cores", what="deface, one command a core", command=_peer("deface", "deface_cli.py", "files", f"{CORES}")
    ),
    Entry(name="e", what="Daft class UDF over download", command=_peer("daft", "daft_udf.py", "files")),
)
LONG: Final = Entry(name="b long", what="Segfill anonymize on Ray, 4 times the images", command=_spec)

GOALS: Final = (  # of which ratio: numerator, denominator, least
    ("b warm", "a", 0.97),
    ("b cold", "a", 0.88),
    ("b cold", "c", 2.0),
    ("b cold", "d", 1.8),
    ("b cold", "d cores", 1.8),
    ("b cold", "e", 1.5),
)


def run(entry: Entry, images: Path, count: int, repeat: int) -> Result:
    speeds, loops, drivers, alls = [], [], [], []
    faces: int | None = None
    for _ in range(repeat):
        out = HOME / "out"
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir(parents=True)
        measured = sampler.run(entry.command(images, out), cwd=ROOT)
        said = _last_json(measured.output)
        if "images" not in said:
            said |= outcome(out / "out")
        if measured.code or said.get("images") != count:
            why = f"exit code {measured.code}, {said.get('images', 0):.0f} of {count} images"
            sys.stderr.write(f"{entry.name} failed: {why}\n{measured.output[-2000:]}\n{measured.errors[-4000:]}\n")
            return Result(entry=entry, failure=why)
        faces = int(said["faces"]) if "faces" in said else None
        speeds.append(count / (said["seconds"] if entry.warm else measured.wall))
        loops.append(count / said.get("seconds", measured.wall))
        drivers.append(measured.driver)
        alls.append(measured.all)
    shutil.rmtree(HOME / "out", ignore_errors=True)
    return Result(
        entry=entry,
        images=count,
        speed=statistics.median(speeds),
        loop=statistics.median(loops),
        driver=max(drivers),
        all=max(alls),
        faces=faces,
    )


def _last_json(output: str) -> dict[str, float]:
    for line in reversed(output.splitlines()):
        if line.startswith("{"):
            found: dict[str, float] = json.loads(line)
            return found
    return {}


# --- what is written -------------------------------------------------------------------------------------------


def table(results: list[Result]) -> str:
    floor = next((r for r in results if r.entry.name == "a" and not r.failure), None)
    lines = [
        "| | what | images/s | of (a) | peak MiB, driver | peak MiB, all processes | images with a face |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for result in results:
        if result.failure:
            lines.append(f"| {result.entry.name} | {result.entry.what} | failed: {result.failure} | | | | |")
            continue
        base = (floor.loop if result.entry.warm else floor.speed) if floor else 0.0
        lines.append(
            f"| {result.entry.name} | {result.entry.what} | {result.speed:.1f} | "
            f"{f'{result.speed / base:.2f}' if base else '-'} | {result.driver:.0f} | {result.all:.0f} | "
            f"{'-' if result.faces is None else result.faces} |"
        )
    return "\n".join(lines)


def goals(results: list[Result]) -> str:
    found = {r.entry.name: r for r in results if not r.failure}
    lines = ["| what | to reach | measured | |", "| --- | ---: | ---: | --- |"]
    for top, bottom, least in GOALS:
        if top in found and bottom in found:
            base = found[bottom].loop if found[top].entry.warm else found[bottom].speed
            ratio = found[top].speed / base
            lines.append(
                f"| ({top}) / ({bottom}) | {least:.2f} | {ratio:.2f} | {'reached' if ratio >= least else 'missed'} |"
            )
    if "b long" in found and "b cold" in found:
        growth = found["b long"].all / found["b cold"].all
        verdict = "reached" if growth <= 1.1 else "missed"
        lines.append(f"| peak memory of 4 times the images / of the images | at most 1.10 | {growth:.2f} | {verdict} |")
    return "\n".join(lines)


def page(results: list[Result], count: int, repeat: int, command: str) -> str:
    pins = "\n".join(f"- {peer}: {', '.join(versions)}" for peer, versions in PINS.items())
    return f"""# Benchmarks

    {command}

{count:,} JPEGs of {BENCH_SIZE[0]} x {BENCH_SIZE[1]} pixels, made from the photographs of the scikit-image wheel, every
third with a face; the same images, CenterFace weights and detector size (640 x 480) for all, one after the other in one
run{f", median of {repeat}" if repeat > 1 else ""}. Machine: {_machine()}.

{table(results)}

Images/s are over the wall time of the whole command, start-up included; (b warm) is the second run in one process with
Ray up, and is compared with (a) without its start-up ({_loop(results)} images/s). Memory is the proportional set size
(shared pages once), sampled every {sampler.EVERY} s; the driver is the process that was started. (a), (b) and (c) read
tars; (d) and (e) read the same images as files. (a) and (b) decode a small view, fill with the same functions, and pass
images without a face through; (c) and (e) decode and encode every image in full, at quality 90, and (d) at its own 75.
(d) writes no table.

{goals(results)}

Environments: Segfill as in pyproject.toml and constraints.txt, Python {platform.python_version()};
{pins}
"""


def _loop(results: list[Result]) -> str:
    floor = next((r for r in results if r.entry.name == "a" and not r.failure), None)
    return f"{floor.loop:.1f}" if floor else "-"


def _machine() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{CORES} cores of {model}, {memory:.0f} GiB, {platform.system()} {platform.release().split('-')[0]}"


def _notes(old: Path) -> str:
    """The notes that a person wrote below the figures, which stay when the figures are measured again."""
    _, mark, notes = (old.read_text() if old.exists() else "").partition("\n## Notes")
    return mark + notes


def main() -> int:
    names = [entry.name for entry in ENTRIES]
    parser = argparse.ArgumentParser(prog="python -m tests.bench.bench", description=__doc__)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--repeat", type=int, default=1, help="runs of each; the median counts")
    parser.add_argument(
        "--only", nargs="*", choices=names, default=names, metavar="NAME", help=f"of: {', '.join(names)}"
    )
    parser.add_argument("--no-long", action="store_true", help="leave out the run over 4 times the images")
    parser.add_argument("--out", type=Path, default=ROOT / "BENCHMARKS.md", help="where the page goes")
    args = parser.parse_args()
    entries = [entry for entry in ENTRIES if entry.name in args.only]
    for entry in entries:  # environments are made before anything is timed
        entry.command(HOME, HOME)
    images = HOME / f"images-{args.images}"
    build_bench(images, args.images)
    results = []
    for entry in entries:
        print(f"{entry.name}: {entry.what} ...", file=sys.stderr, flush=True)
        results.append(run(entry, images, args.images, args.repeat))
    if not args.no_long:
        long = HOME / f"images-{4 * args.images}"
        build_bench(long, 4 * args.images, loose=False)
        print(f"{LONG.name}: {LONG.what} ...", file=sys.stderr, flush=True)
        results.append(run(LONG, long, 4 * args.images, 1))
    command = (
        "make bench"
        if args.images == 1000 and args.only == names
        else f"python -m tests.bench.bench {' '.join(sys.argv[1:])}"
    )
    args.out.write_text(page(results, args.images, args.repeat, command) + _notes(args.out))
    print(f"{table(results)}\n\n{goals(results)}\n\nwritten to {args.out}")
    return 1 if any(result.failure for result in results) else 0


if __name__ == "__main__":
    sys.exit(main())
