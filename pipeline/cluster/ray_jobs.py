"""cluster=ray: a run on a Ray cluster that is up, by its Jobs API, from any machine that reaches its dashboard.

The sources of this installation travel as the job's working directory, which Ray stores under a hash of its content.
Credentials do not travel: workers have the environment of `ray start`.
"""

from __future__ import annotations

import contextlib
import ipaddress
import logging
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # before ray is imported: it reads this once

import ray
from pydantic import Field
from ray.exceptions import AuthenticationError
from ray.job_submission import JobDetails, JobStatus, JobSubmissionClient

from pipeline import life
from pipeline.cluster import package
from pipeline.cluster.run import EXIT_DETACHED, Run
from pipeline.credentials import redact
from pipeline.errors import EXIT_OK, ConfigError, RunError, one_line
from pipeline.spec import spec

_CONNECT_SECONDS: Final = 4.0
_ANSWER_SECONDS: Final = 6.0
"""Both together stay below the 15 seconds after which a person takes a command for dead."""
_UPLOAD_SECONDS: Final = 300.0
_LOST_SECONDS: Final = 10.0
"""For so long a dashboard may be away. The run goes on without us, so that giving up early costs one more command."""
_BYTES_A_SECOND: Final = 50_000
"""Of log that is read again; the API gives it whole."""
_LONGEST_PAUSE: Final = 10.0
_TOKEN: Final = "set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN (or RAY_AUTH_TOKEN_PATH) as its nodes have them"


@spec
class RayJobs:
    """Refuses a dashboard off loopback without a token: whoever reaches it runs code on the cluster."""

    address: str = "http://127.0.0.1:8265"
    """Of the dashboard: http://HEAD:8265, or https:// behind a proxy."""
    install: bool = False
    """The nodes install the pinned packages of Segfill with pip, once a node, and need Ray only; false: they have them,
    as the image of the Dockerfile does."""
    extras: tuple[str, ...] = ()
    """Extras that they install too, such as hf."""
    cpus: Annotated[float, Field(ge=0)] = 0.0
    """Cores that the driver takes on its node; 0: it runs on the head beside them."""
    follow: bool = True
    """Show the log until the run ends, and exit with its code; false: start it and exit with 130."""

    def __post_init__(self) -> None:
        parts = urlsplit(self.address)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError(
                f"cluster.address: expected the dashboard, such as http://HEAD:8265, got {redact(self.address)!r}"
            )

    def launch(self, run: Run) -> int:
        client = self._client()
        submission, joined = self._submitted(client, run)
        life.say(f"{'attached to' if joined else 'started'} {submission} at {self.address}")
        try:
            if self.follow:
                return self._followed(client, submission)
        except KeyboardInterrupt:
            life.say("")
        life.say(
            f"detached: {submission} goes on; the same command attaches again, segfill watch {run.sink} counts what "
            f"is done, ray job stop {submission} --address {self.address} stops it"
        )
        return EXIT_DETACHED

    def _client(self) -> _Client:
        """A client of a cluster that answers, takes us, and has our Ray. Raises ConfigError within 15 seconds."""
        host = urlsplit(self.address).hostname or ""
        if not _is_loopback(host) and os.environ.get("RAY_AUTH_MODE") != "token":
            raise ConfigError(
                f"cluster.address: {self.address} is not on loopback, and without a token whoever reaches a Ray "
                f"cluster runs code on it; start it with RAY_AUTH_MODE=token and {_TOKEN}"
            )
        life.phase(f"connecting to {self.address}")
        for name in ("ray", "ray.dashboard.modules.dashboard_sdk", "ray.dashboard.modules.job.sdk"):
            logging.getLogger(name).setLevel(logging.ERROR)  # the last two set their own
        try:
            client = _Client(self.address)
            version = str(client.answer("/api/version")["ray_version"])
        except AuthenticationError as error:
            raise ConfigError(f"cluster.address: {self.address} does not take our token; {_TOKEN}") from error
        except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:  # OSError: of requests and of Ray
            if "ray[default]" in str(error):
                raise ConfigError("cluster=ray needs ray[default]: pip install 'segfill[cluster]'") from error
            raise ConfigError(
                f"cluster.address: no Ray dashboard answers at {self.address} ({one_line(error, 120)}); start the head "
                "with --include-dashboard=true --dashboard-host, or open a tunnel to it"
            ) from error
        if version != ray.__version__:
            raise ConfigError(
                f"cluster.address: {self.address} runs Ray {version}, this Segfill needs {ray.__version__} on every "
                "node; start the cluster with that version"
            )
        return client

    def _submitted(self, client: _Client, run: Run) -> tuple[str, bool]:
        """The submission's id, and whether it was there before. A run that has ended is started again under the next
        number: its ledger says what is left."""
        for _ in range(3):  # another process may be faster
            there = self._of_place(client, run)
            active = [job for job in there if not job.status.is_terminal()]
            for job in active:
                if _id(job).rpartition("-")[0] != run.name:
                    raise ConfigError(
                        f"sink.uri={run.sink}: another run writes there now ({_id(job)} at {self.address}); wait for "
                        "its end, stop it, or choose another sink.uri"
                    )
                return _id(job), True
            number = 1 + max((int(_id(job).rpartition("-")[2]) for job in there), default=0)
            submission = f"{run.name}-{number}"
            try:
                self._submit(client, run, submission)
                return submission, False
            except RuntimeError as error:
                if "already exists" not in str(error):
                    raise _refused(self.address, error) from error
            except OSError as error:
                raise _refused(self.address, error) from error
        raise RunError(f"{self.address}: three others started {run.name} meanwhile; the same command attaches to it")

    def _of_place(self, client: _Client, run: Run) -> list[JobDetails]:
        try:
            jobs = client.list_jobs()
        except (OSError, RuntimeError, ValueError) as error:
            raise _refused(self.address, error) from error
        return [job for job in jobs if _id(job).startswith(f"{run.place}-")]

    def _submit(self, client: _Client, run: Run, submission: str) -> None:
        life.phase("uploading the package")
        with tempfile.TemporaryDirectory(prefix="segfill-") as folder, client.patient():
            digest = package.copy_to(Path(folder))
            environment: dict[str, Any] = {"working_dir": folder}
            if self.install:
                environment["pip"] = {"packages": package.pins(self.extras), "pip_check": False}
            client.submit_job(
                entrypoint=run.command(),
                submission_id=submission,
                runtime_env=environment,
                metadata={"sink": run.sink, "source": run.source, "package": digest},
                entrypoint_num_cpus=self.cpus or None,
            )

    def _followed(self, client: _Client, submission: str) -> int:
        """Print the log as it grows; the exit code of the run. Raises RunError when the cluster is lost."""
        shown, seen = 0, time.monotonic()
        life.phase(f"following {submission}")
        while True:
            began = time.monotonic()
            try:
                job = client.get_job_info(submission)
                log = client.get_job_logs(submission)
            except (OSError, RuntimeError, ValueError) as error:  # a dashboard that restarts answers with errors
                if time.monotonic() - seen > _LOST_SECONDS:
                    raise RunError(
                        f"{self.address} does not answer any more ({one_line(error, 120)}); when it is back, the same "
                        "command attaches to the run, or resumes it"
                    ) from error
                time.sleep(1.0)
                continue
            seen = time.monotonic()
            end = len(log) if job.status.is_terminal() else log.rfind("\n") + 1
            for line in log[shown:end].splitlines():
                life.say(redact(line))
            shown = max(shown, end)
            if job.status.is_terminal():
                return _exit_code(submission, job)
            pause = max(1.0, len(log) / _BYTES_A_SECOND, 5 * (time.monotonic() - began))
            time.sleep(min(pause, _LONGEST_PAUSE))


class _Client(JobSubmissionClient):
    """Ray's client, whose requests otherwise wait for ever."""

    _seconds = _ANSWER_SECONDS

    def _do_request(self, method: str, endpoint: str, **values: Any) -> Any:
        return super()._do_request(method, endpoint, timeout=(_CONNECT_SECONDS, self._seconds), **values)

    def answer(self, endpoint: str) -> Any:
        """The JSON of a GET. Raises OSError, RuntimeError."""
        response = self._do_request("GET", endpoint)
        response.raise_for_status()
        return response.json()

    @contextlib.contextmanager
    def patient(self) -> Iterator[None]:
        """Give requests the time of an upload."""
        self._seconds = _UPLOAD_SECONDS
        try:
            yield
        finally:
            self._seconds = _ANSWER_SECONDS


def _id(job: JobDetails) -> str:
    return str(job.submission_id or "")


def _exit_code(submission: str, job: JobDetails) -> int:
    """The code of the driver; 1 for a job that ended without one, and a line that says why."""
    code = job.driver_exit_code
    if job.status == JobStatus.SUCCEEDED:
        return EXIT_OK
    if code:
        return int(code) if code > 0 else 128 - int(code)
    why = " ".join((job.message or "no reason was given").split())[:300]
    raise RunError(f"{submission} is {job.status}: {why}; the same command resumes the run")


def _refused(address: str, error: Exception) -> RunError:
    return RunError(f"{address} did not take the run: {one_line(error, 300)}; try again, or look into its dashboard")


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
