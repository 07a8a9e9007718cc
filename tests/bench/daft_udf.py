"""Peer (e): the same model as a Daft class UDF over url.download. python daft_udf.py FILES OUT"""

import json
import os
import sys
from glob import glob

os.environ["DAFT_ANALYTICS_ENABLED"] = "0"
os.environ["DO_NOT_TRACK"] = "1"
os.environ["DAFT_PROGRESS_BAR"] = "0"
import daft
import pyarrow.parquet as pq
from daft import DataType, col

DONE = DataType.struct({"jpg": DataType.binary(), "faces": DataType.int64()})


@daft.cls(max_concurrency=os.cpu_count(), use_process=True)
class Remove:
    def __init__(self) -> None:
        from peer_faces import FaceRemover

        self.remove = FaceRemover()

    @daft.method(return_dtype=DONE)  # type: ignore[untyped-decorator]
    def __call__(self, data: bytes) -> dict[str, object]:
        jpg, faces = self.remove(data)
        return {"jpg": jpg, "faces": faces}


def main(files: str, out: str) -> None:
    rows = daft.from_pydict({"path": [f"file://{os.path.abspath(path)}" for path in sorted(glob(f"{files}/*.jpg"))]})
    rows = rows.into_batches(32).with_column("done", Remove()(col("path").download()))
    rows.select("path", col("done").get("jpg"), col("done").get("faces")).write_parquet(out)
    faces = [
        n for path in glob(f"{out}/*.parquet") for n in pq.read_table(path, columns=["faces"])["faces"].to_pylist()
    ]
    print(json.dumps({"images": len(faces), "faces": sum(n > 0 for n in faces)}))


if __name__ == "__main__":
    main(*sys.argv[1:])
