"""Peer (c): the Ray Data script that one would write first. python naive_ray.py SHARDS OUT"""

import json
import os
import sys
from glob import glob
from typing import Any

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
import pyarrow.parquet as pq
import ray
from peer_faces import FaceRemover


class Remove:
    def __init__(self) -> None:
        self.remove = FaceRemover()

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        done = [self.remove(data) for data in batch["jpg"]]
        return {"key": batch["__key__"], "jpg": [data for data, _ in done], "faces": [faces for _, faces in done]}


def main(shards: str, out: str) -> None:
    ray.init(include_dashboard=False, log_to_driver=False)
    ray.data.DataContext.get_current().enable_progress_bars = False
    paths = sorted(glob(f"{shards}/*.tar"))
    rows = ray.data.read_webdataset(paths, decoder=None)
    # An actor a core that asks for half of it: with whole ones the read tasks would never start.
    rows = rows.map_batches(
        Remove, batch_size=16, num_cpus=0.5, compute=ray.data.ActorPoolStrategy(size=os.cpu_count())
    )
    rows.write_parquet(out)
    faces = [
        n for path in glob(f"{out}/*.parquet") for n in pq.read_table(path, columns=["faces"])["faces"].to_pylist()
    ]
    print(json.dumps({"images": len(faces), "faces": sum(n > 0 for n in faces)}))


if __name__ == "__main__":
    main(*sys.argv[1:])
