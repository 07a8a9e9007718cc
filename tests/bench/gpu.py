"""GPU utilisation of the pipeline beside a bare loop over preloaded batches: python -m tests.bench.gpu

Each case runs in its own process for at most two minutes. Finished cases are kept in .bench/ and not measured again
(--again does so). Prints the table and writes a section of BENCHMARKS.md with the card's name. --device cpu --tiny
tries all of it without a GPU and writes nothing there.
"""

from __future__ import annotations

import argparse
import io
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import torch

from pipeline import build, driver
from pipeline.estimate import sample
from pipeline.records import Device
from tests.bench.gpu_cases import CASES, Case, Made, MissingPartError, photographs

ROOT: Final = Path(__file__).parents[2]
HOME: Final = ROOT / ".bench"
GOAL: Final = 0.9
LIMIT: Final = 120
"""Seconds of a case."""

Row = dict[str, float | str]
"""bare, local, ray: images/s; busy_local, busy_ray: share of the time that the GPU was at work; decode, cpu: core
seconds of one image; `skipped`: why there are no figures; `note`: what went wrong. A key that was not measured is
missing."""


class Busy:
    """Samples the utilisation of the card that nvidia-smi reports."""

    def __init__(self) -> None:
        self._samples: list[tuple[float, float]] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Busy:
        if torch.cuda.is_available() and shutil.which("nvidia-smi"):
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        if self._thread.ident is not None:
            self._thread.join()

    def between(self, start: float, end: float) -> float | None:
        """The mean share, 0..1, or None when nothing was sampled. start, end: of time.time()."""
        found = [share for moment, share in self._samples if start <= moment <= end]
        return statistics.mean(found) if found else None

    def _watch(self) -> None:
        command = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"]
        while not self._ended.wait(0.25):
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
            shares = [float(value) for value in done.stdout.split() if value.replace(".", "").isdigit()]
            if shares:
                self._samples.append((time.time(), max(shares) / 100))


def bare_speed(made: Made, seconds: float) -> float:
    """Images/s of back-to-back calls."""
    made.bare()
    made.bare()
    calls, started = 0, time.perf_counter()
    while time.perf_counter() - started < seconds or not calls:
        made.bare()
        calls += 1
    return calls * made.batch / (time.perf_counter() - started)


def steady_speed(out: Path) -> tuple[float, float, float]:
    """Images/s from the first commit of a run to its last, and the times of both: what came before is start-up."""
    records = sorted((path.stat().st_mtime, path) for path in (out / "_commit").glob("*.json"))
    if len(records) < 2:
        raise RuntimeError(f"expected at least two units, got {len(records)}")
    images = sum(json.loads(path.read_text())["counts"]["images"] for _, path in records[1:])
    start, end = records[0][0], records[-1][0]
    return images / max(end - start, 1e-3), start, end


def pipeline_speed(case: Case, overrides: list[str], execute: list[str], source: Path, out: Path) -> Row:
    places = [f"source.uri={source}", f"sink.uri={out}", "source=files", f"source.unit_images={case.unit}"]
    made = build.build(build.compose(case.job, [*places, *overrides, f"chunk={case.batch}", *execute]))
    said = io.StringIO()
    with Busy() as busy:
        code = driver.run(made, said, said)
        if code:
            raise RuntimeError(" ".join(said.getvalue().split())[-300:])
        speed, start, end = steady_speed(out)
        share = busy.between(start, end)
    return {"speed": speed} if share is None else {"speed": speed, "busy": share}


def measure(case: Case, device: Device, folder: Path, ray: bool, tell: Callable[[Row], None]) -> None:
    """All figures of a case. `tell` gets those measured so far, in case the rest takes too long."""
    made = case.make(folder, case, device)
    row: Row = {"bare": bare_speed(made, 0.2 if case.tiny else 5)}
    tell(row)

    def source(most: int) -> Path:
        """Enough for ten seconds at the bare loop's speed, at least four units."""
        wanted = 0 if case.tiny else min(most, round(10 * float(row["bare"])) // case.unit * case.unit)
        count = max(4 * case.unit, wanted)
        return photographs(folder / f"images-{count}", count, case.size)

    few = source(16 * case.batch)
    local = ["execute=local", f"execute.device={device}"]  # the default would need Ray, even to be built
    places = [f"source.uri={few}", f"sink.uri={folder / 'sample'}"]
    flow = build.build(build.compose(case.job, [*places, *made.overrides, *local])).flow
    seconds = sample.measure(flow, images=min(32, 2 * case.batch), seed=0, device=device, threads=1).seconds
    row["decode"] = seconds["decode"]
    row["cpu"] = sum(value for stage, value in seconds.items() if stage not in ("segment", "fill"))
    tell(row)
    _put(row, "local", pipeline_speed(case, made.overrides, local, few, folder / "local"))
    tell(row)
    if ray:
        share = "0.5" if case.job == "clean" and device == "cuda" else "0.0"
        staged = [
            "execute=staged",
            f"execute.gpus={share}",
            f"execute.store_mib={256 if case.tiny else 8192}",
        ]
        _put(row, "ray", pipeline_speed(case, made.overrides, staged, source(4096), folder / "ray"))
        tell(row)


def _put(row: Row, key: str, found: Row) -> None:
    row[key] = found["speed"]
    if "busy" in found:
        row[f"busy_{key}"] = found["busy"]


def one(name: str, device: Device, *, tiny: bool, ray: bool, into: Path) -> None:
    """A case, in the process made for it; writes the row as it grows."""
    case = next(case for case in CASES if case.name == name)
    with tempfile.TemporaryDirectory(prefix="segfill-gpu-") as folder:
        try:
            measure(case.small() if tiny else case, device, Path(folder), ray, lambda row: _write(into, row))
        except (MissingPartError, ModuleNotFoundError) as error:
            _write(into, {"skipped": str(error)})


def _write(into: Path, row: Row) -> None:
    whole = into.with_suffix(".new")
    whole.write_text(json.dumps(row))
    whole.replace(into)


def run(case: Case, device: Device, *, tiny: bool, ray: bool) -> Row:
    """In a process of its own. What it did not get done is missing in the row, and `note` says why."""
    into = HOME / f"gpu-{case.name}.json"
    into.unlink(missing_ok=True)
    command = [sys.executable, "-m", "tests.bench.gpu", "--case", case.name, "--into", str(into), "--device", device]
    command += ["--tiny"] if tiny else []
    command += [] if ray else ["--no-ray"]
    note = ""
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=LIMIT)
        if done.returncode:
            note = (done.stderr.strip().splitlines() or ["no message"])[-1][:300]
    except subprocess.TimeoutExpired:
        note = f"ended after {LIMIT} s"
    row: Row = json.loads(into.read_text()) if into.exists() else {}
    into.unlink(missing_ok=True)
    return row | ({"note": note} if note else {})


def table(rows: dict[str, Row]) -> str:
    head = [
        "what",
        "bare",
        "local",
        "of bare",
        "GPU busy",
        "Ray",
        "of bare",
        "GPU busy",
        "decode cores",
        "CPU cores",
    ]
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" + " ---: |" * (len(head) - 1)]
    for case in CASES:
        row = rows.get(case.name, {})
        cells = [case.what, *_cells(row)]
        lines.append("| " + " | ".join(cells) + " |")
        lines += [f"| {case.what} | {row[key]} |" + " |" * 8 for key in ("skipped", "note") if key in row]
    return "\n".join(lines)


def _cells(row: Row) -> list[str]:
    def figure(key: str, form: str) -> str:
        return format(float(row[key]), form) if key in row else "-"

    def share(key: str) -> str:
        return f"{float(row[key]) / float(row['bare']):.2f}" if key in row and "bare" in row else "-"

    def cores(key: str) -> str:
        return f"{float(row[key]) * float(row['bare']):.1f}" if key in row and "bare" in row else "-"

    pairs = ((figure(key, ".1f"), share(key), figure(f"busy_{key}", ".0%")) for key in ("local", "ray"))
    return [figure("bare", ".1f"), *(cell for pair in pairs for cell in pair), cores("decode"), cores("cpu")]


def section(card: str, rows: dict[str, Row]) -> str:
    judged = [row for row in rows.values() if "bare" in row and ("ray" in row or "local" in row)]
    good = sum(float(row.get("ray", row.get("local", 0))) >= GOAL * float(row["bare"]) for row in judged)
    return f"""## GPU: {card}

    make bench-gpu

Random weights of the shapes named, bfloat16 (the ONNX fill: float32), JPEGs of 1366 x 1024 pixels, for the fills of
683 x 512 with two holes each. Images/s: of a bare loop over batches that are on the card already (the fills': over
crops in memory), and of the pipeline from its first commit to its last, in one process and staged on Ray. Decode cores:
what it takes to decode as fast as the bare loop answers; CPU cores: to do all but the networks. With torch
{torch.__version__}.

{table(rows)}

{good} of {len(judged)} reach {GOAL} of the bare loop (on Ray where it was there, else in one process).
"""


def written(page: str, card: str, text: str) -> str:
    """The page with the card's section replaced, or put at its end; everything else stays."""
    before, mark, rest = page.partition(f"## GPU: {card}\n")
    after = rest.partition("\n## ")
    tail = "\n## " + after[2] if after[1] else ""
    return (before if mark else page.rstrip("\n") + "\n\n") + text.rstrip("\n") + "\n" + tail


def main() -> int:
    names = [case.name for case in CASES]
    parser = argparse.ArgumentParser(prog="python -m tests.bench.gpu", description=__doc__)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--tiny", action="store_true", help="networks and images of a few pixels: does it all work?")
    parser.add_argument(
        "--only", nargs="*", choices=names, default=names, metavar="NAME", help=f"of: {', '.join(names)}"
    )
    parser.add_argument("--again", action="store_true", help="measure finished cases anew")
    parser.add_argument("--no-ray", action="store_true", help="only in one process")
    parser.add_argument("--out", type=Path, default=ROOT / "BENCHMARKS.md", help="where the section goes")
    parser.add_argument("--case", choices=names, help=argparse.SUPPRESS)
    parser.add_argument("--into", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.device == "cuda" and not torch.cuda.is_available():
        print("bench-gpu: torch finds no GPU here; --device cpu --tiny tries the benchmark itself", file=sys.stderr)
        return 1
    ray = not args.no_ray and find_spec("ray") is not None
    if args.case:
        one(args.case, args.device, tiny=args.tiny, ray=ray, into=args.into)
        return 0
    card = torch.cuda.get_device_name(0) if args.device == "cuda" else "none"
    HOME.mkdir(exist_ok=True)
    kept = HOME / f"gpu-{'tiny-' if args.tiny else ''}{card.replace(' ', '-').replace('/', '-').lower()}.rows.json"
    rows: dict[str, Row] = json.loads(kept.read_text()) if kept.exists() and not args.again else {}
    for case in CASES:
        if case.name not in args.only or (case.name in rows and "note" not in rows[case.name]):
            continue
        print(f"{case.name}: {case.what} ...", file=sys.stderr, flush=True)
        rows[case.name] = run(case, args.device, tiny=args.tiny, ray=ray)
        _write(kept, rows)  # type: ignore[arg-type]
        for key in ("skipped", "note"):
            if key in rows[case.name]:
                print(f"{case.name}: {key}: {rows[case.name][key]}", file=sys.stderr, flush=True)
    print(table(rows))
    if args.device == "cuda" and not args.tiny:
        args.out.write_text(written(args.out.read_text(), card, section(card, rows)))
        print(f"written to {args.out}")
    return 1 if any("note" in row for row in rows.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
