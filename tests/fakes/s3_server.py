"""A real S3 on loopback for tests and the benchmark: one seaweedfs process that lives as long as a `with` block."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

HOST = "127.0.0.1"
GRPC_SHIFT = 10_000  # every server of weed also listens on its port + 10,000
START_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True)
class S3:
    """Where the server is and how to log in. `bucket` exists and is empty at the start."""

    endpoint: str
    key: str = "test-key"
    secret: str = "test-secret"
    bucket: str = "bucket"
    region: str = "us-east-1"

    def uri(self, name: str) -> str:
        """A prefix of the bucket, empty unless the caller writes below it."""
        return f"s3://{self.bucket}/{name}"

    def environment(self) -> dict[str, str]:
        """The ambient variables with which a process reaches this server and nothing else."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": self.key,
            "AWS_SECRET_ACCESS_KEY": self.secret,
            "AWS_DEFAULT_REGION": self.region,
            "AWS_REGION": self.region,
            "AWS_EC2_METADATA_DISABLED": "true",
            # The developer's own profiles must not leak into a test.
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        }


@contextlib.contextmanager
def serve(*, key: str = S3.key, secret: str = S3.secret) -> Iterator[S3]:
    """Start a server on free loopback ports with its data in a temporary folder; stop it and delete both at the end.
    It accepts this key and secret.

    Raises RuntimeError with the end of the server's log when it does not come up.
    """
    with tempfile.TemporaryDirectory(prefix="segfill-s3-") as folder:
        for attempt in range(3):  # another process may take a port before the server does
            ports = _free_ports(5)
            s3 = S3(endpoint=f"http://{HOST}:{ports[0]}", key=key, secret=secret)
            log = Path(folder) / f"weed-{attempt}.log"
            process = _start(s3, ports, Path(folder) / f"data-{attempt}", log)
            try:
                if _wait_until_ready(process, s3):
                    yield s3
                    return
            finally:
                _stop(process)
        raise RuntimeError(f"seaweedfs did not start; the end of its log:\n{log.read_text(errors='replace')[-3000:]}")


def _start(s3: S3, ports: list[int], data: Path, log: Path) -> subprocess.Popen[bytes]:
    data.mkdir()
    api, master, volume, filer, admin = ports
    command = [
        str(Path(sys.executable).parent / "weed"),
        "mini",
        f"-dir={data}",
        f"-ip={HOST}",
        f"-ip.bind={HOST}",  # without it weed listens on every interface
        "-master.telemetry=false",  # without it weed phones home
        "-admin.ui=false",
        "-webdav=false",
        f"-s3.port={api}",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        f"-master.port={master}",
        f"-volume.port={volume}",
        f"-filer.port={filer}",
        f"-filer.localSocket={data / 'f.sock'}",
        f"-s3.localSocket={data / 's.sock'}",
        f"-admin.port={admin}",
        "-master.volumeSizeLimitMB=64",
    ]
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("AWS_")},
        "AWS_ACCESS_KEY_ID": s3.key,
        "AWS_SECRET_ACCESS_KEY": s3.secret,
        "S3_BUCKET": s3.bucket,
        "GOMEMLIMIT": "400MiB",
    }
    with log.open("wb") as output:
        return subprocess.Popen(
            command, cwd=data, env=environment, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )


def _wait_until_ready(process: subprocess.Popen[bytes], s3: S3) -> bool:
    """Wait for the bucket, which exists a moment after the port is open. Returns False when the process ended."""
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError
    from botocore.session import get_session

    client = get_session().create_client(
        "s3",
        endpoint_url=s3.endpoint,
        region_name=s3.region,
        aws_access_key_id=s3.key,
        aws_secret_access_key=s3.secret,
        config=Config(connect_timeout=1, read_timeout=2, retries={"total_max_attempts": 1}),
    )
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        try:
            client.head_bucket(Bucket=s3.bucket)
            # The first put allocates a volume; a server that cannot write is not ready.
            client.put_object(Bucket=s3.bucket, Key="ready", Body=b"ready")
            client.delete_object(Bucket=s3.bucket, Key="ready")
            return True
        except (BotoCoreError, ClientError):
            time.sleep(0.1)
    return False


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Kill the process group: its data is deleted anyway, and a regular shutdown takes seconds."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _free_ports(count: int) -> list[int]:
    """Ports that are free now, with their gRPC counterparts, below the range that the kernel assigns itself."""
    found: list[int] = []
    for port in random.sample(range(11_000, 22_000), 500):
        if all(_is_free(p) for p in (port, port + GRPC_SHIFT)):
            found.append(port)
            if len(found) == count:
                return found
    raise RuntimeError("no free ports on loopback")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


if __name__ == "__main__":  # python -m tests.fakes.s3_server: prints the environment, serves until interrupted
    with serve() as running, contextlib.suppress(KeyboardInterrupt):
        for name, value in running.environment().items():
            print(f"export {name}={value}", flush=True)
        signal.pause()
