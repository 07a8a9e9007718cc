"""`python -m jobs.demo FOLDER`: the three jobs on real photographs, each from another kind of source, through Ray
here; `clean` a second time, for an object that is in the way."""

import shutil
import sys
import time
from pathlib import Path

from jobs import command
from jobs.demo_shards import build as build_shards
from pipeline import build, driver
from pipeline.errors import EXIT_OK
from pipeline.execute.ray_data import RayData

OBJECTS = ("segment=[captions,salient]", "select.labels=[text,salient]", "select.max_segment_share=0.12")
"""What stands out, when it is small: what is large is what a photograph is about."""
RUNS = (
    (
        "annotate", "webdataset", "annotate", "the salient object, faces and text, from WebDataset tars",
        ["render=overlay", "sink=files"],
    ),
    ("clean", "parquet", "clean", "drawn captions removed, from Parquet", ["sink=files", "fill=generative"]),
    (
        "clean", "folder/things", "clean-objects", "small objects removed too, from a folder",
        ["sink=files", "fill=generative", *OBJECTS],
    ),
    ("anonymize", "folder", "anonymize", "faces removed, from a folder", ["sink=files"]),
)  # fmt: skip


def main(folder: Path) -> int:
    """Builds the shards, runs the jobs, prints their tables. Exit code: the first job's that did not end well."""
    started = time.monotonic()
    source = folder / "in"
    if folder.exists():
        shutil.rmtree(folder)
    build_shards(source)
    print(f"{folder}: real photographs of scikit-image as tars, Parquet and a folder; two are cut off on purpose\n")
    codes = []
    with RayData().session():
        for name, kind, into, what, options in RUNS:
            print(f"--- jobs.{name}: {what}", flush=True)
            overrides = [f"source.uri={source / kind}", f"sink.uri={folder / into}", "execute=ray", *options]
            overrides.append("max_reject_share=0.1")  # one broken image of twelve is planted
            codes.append(driver.run(build.build(build.compose(name, overrides)), sys.stdout, sys.stderr))
            print()
    print(f"took {time.monotonic() - started:.0f} s; the same on your own data: python -m jobs.anonymize --help")
    return next((code for code in codes if code), EXIT_OK)


if __name__ == "__main__":
    sys.exit(command.run("demo", lambda given: main(Path([*given, "demo"][0])), lambda: __doc__ or "", None))
