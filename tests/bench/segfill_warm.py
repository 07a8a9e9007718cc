"""Entry (b), warm: `anonymize` twice in one process with Ray up; the second run counts.

python -m tests.bench.segfill_warm SHARDS OUT
"""

from __future__ import annotations

import io
import json
import sys
import time
from pathlib import Path

from pipeline import build, driver
from pipeline.execute.ray_data import RayData
from tests.bench.outcome import ALIKE, outcome


def segfill_warm(shards: Path, out: Path) -> float:
    """Seconds of the second of two runs over the same shards into two outputs, plan and report included."""
    seconds = 0.0
    with RayData().session():
        for name in ("first", "second"):
            overrides = [f"source.uri={shards}", f"sink.uri={out / name}", "execute=ray", *ALIKE]
            made = build.build(build.compose("anonymize", overrides))
            started = time.perf_counter()
            code = driver.run(made, io.StringIO(), sys.stderr)
            seconds = time.perf_counter() - started
            if code:
                raise SystemExit(code)
    return seconds


if __name__ == "__main__":
    root = Path(sys.argv[2])
    took = segfill_warm(Path(sys.argv[1]), root)
    print(json.dumps({"seconds": took} | outcome(root / "second")))
