"""Peer (d): the `deface` command as its users call it: one command over a folder, or one command a core.

python deface_cli.py FILES OUT PROCESSES. deface writes beside its input and only reads whole folders, so OUT first gets
one folder of links a process. With more than one process each is bound to a core: deface has no option for threads.
"""

import json
import os
import subprocess
import sys
from glob import glob
from pathlib import Path

DEFACE = str(Path(sys.executable).parent / "deface")
# Solid boxes cost the least; 640x480 is what Segfill's view of a 4:3 image has.
OPTIONS = ["--scale", "640x480", "--replacewith", "solid", "--backend", "onnxrt"]


def main(files: str, out: str, processes: int) -> None:
    paths = sorted(glob(f"{files}/*.jpg"))
    cores = sorted(os.sched_getaffinity(0))
    running = []
    for worker in range(processes):
        folder = Path(out) / f"{worker}"
        folder.mkdir(parents=True)
        for path in paths[worker::processes]:
            os.link(path, folder / Path(path).name)
        binding = ["taskset", "-c", str(cores[worker % len(cores)])] if processes > 1 else []
        running.append(subprocess.Popen([*binding, DEFACE, *OPTIONS, str(folder)], stdout=subprocess.DEVNULL))
    codes = [process.wait() for process in running]
    made = glob(f"{out}/*/*_anonymized.jpg")
    print(json.dumps({"images": len(made)}))
    sys.exit(max(codes))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
