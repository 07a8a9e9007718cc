"""cluster=kuberay: a RayJob for the KubeRay operator, which starts a cluster, runs the driver and removes the cluster.

The pods have the image of the Dockerfile. Retries are safe: the ledger of the output knows what is done.
"""

from __future__ import annotations

import shutil
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Final

import yaml
from pydantic import Field

from pipeline import life
from pipeline.cluster.run import Run
from pipeline.errors import EXIT_OK, ConfigError, RunError, one_line
from pipeline.spec import spec

_SECONDS: Final = 60.0
_GPU: Final = "nvidia.com/gpu"
_Name = Annotated[str, Field(pattern=r"^([a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?)?$", description="a name of Kubernetes")]

_Claim = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]*:/\S*$", description="CLAIM:/PATH")]


@spec
class Workers:
    """A group of pods that the autoscaler starts as work comes, and removes."""

    min: Annotated[int, Field(ge=0)] = 0
    """Pods at least."""
    max: Annotated[int, Field(ge=0)] = 0
    """Pods at most; 0: there is no such group."""
    cpus: Annotated[int, Field(ge=1)] = 4
    """Cores of a pod."""
    memory_gib: Annotated[int, Field(ge=1)] = 16
    """Memory of a pod in GiB; its object store takes a part."""
    gpus: Annotated[int, Field(ge=0)] = 0
    """GPUs of a pod."""

    def __post_init__(self) -> None:
        if self.min > self.max:
            raise ConfigError(f"min: expected at most max={self.max}, got {self.min}")


@spec
class KubeRay:
    """Needs KubeRay 1.6 or newer: older operators know neither the token nor the autoscaler's version."""

    image: str = ""
    """Image of every pod: that of the Dockerfile, pushed to a registry of yours, best by its digest."""
    namespace: _Name = ""
    """Empty: that of kubectl."""
    cpu: Workers = Field(default_factory=lambda: Workers(max=8))
    """The workers without GPUs."""
    gpu: Workers = Field(default_factory=lambda: Workers(gpus=1))
    """The workers with GPUs."""
    spot: bool = True
    """Workers may run on preemptible nodes; the head does not."""
    spot_keys: tuple[str, ...] = (
        "cloud.google.com/gke-spot",
        "kubernetes.azure.com/scalesetpriority",
        "eks.amazonaws.com/capacityType",
    )
    """Taints of preemptible nodes that workers tolerate."""
    env_from: tuple[_Name, ...] = ()
    """Names of Secrets whose keys, such as AWS_ACCESS_KEY_ID, become variables of every pod. Only names leave here."""
    service_account: _Name = ""
    """Of all pods: with a role bound to it no Secret is needed."""
    claims: tuple[_Claim, ...] = ()
    """PersistentVolumeClaims that all pods mount, such as photos:/data; then source and sink may be below."""
    head_cpus: Annotated[int, Field(ge=1)] = 2
    """Cores of the head's pod, for the driver. Ray gives it no other work."""
    head_memory_gib: Annotated[int, Field(ge=2)] = 8
    """Memory of the head's pod in GiB."""
    shm_share: Annotated[float, Field(gt=0, le=0.5)] = 0.3
    """Share of a pod's memory that /dev/shm may take, for Ray's object store."""
    idle_seconds: Annotated[int, Field(ge=1)] = 120
    """Workers without work leave after these."""
    ttl_seconds: Annotated[int, Field(ge=0)] = 600
    """The RayJob stays for so long after its end, so that its log can be read."""
    retries: Annotated[int, Field(ge=0)] = 3
    """New clusters when one is lost; each resumes. A run that was refused, or rejects too much, is tried again too."""
    apply: bool = False
    """Create it by kubectl, which this machine must have; false: print the manifest."""
    file: str = ""
    """The manifest is written there; empty: to standard output, or with `apply` nowhere."""

    def __post_init__(self) -> None:
        if not self.image:
            raise ConfigError(
                "cluster.image is required: build the Dockerfile, push it, and give its name, such as "
                "cluster.image=registry.example/segfill@sha256:..."
            )
        if not self.cpu.max and not self.gpu.max:
            raise ConfigError("cluster.cpu.max: expected workers in one group at least, got 0 in both")

    def manifest(self, run: Run) -> dict[str, Any]:
        """The RayJob. Its name follows from the output, so that Kubernetes refuses a second one."""
        groups = [self._workers(name, group) for name, group in (("cpu", self.cpu), ("gpu", self.gpu)) if group.max]
        metadata: dict[str, Any] = {
            "name": run.place,
            "annotations": {"segfill/run": run.name, "segfill/sink": run.sink},
        }
        if self.namespace:
            metadata["namespace"] = self.namespace
        cluster = {
            "rayVersion": version("ray"),
            "authOptions": {"mode": "token"},
            "enableInTreeAutoscaling": True,
            "autoscalerOptions": {"version": "v2", "idleTimeoutSeconds": self.idle_seconds},
            "headGroupSpec": {
                "rayStartParams": {"num-cpus": "0", "num-gpus": "0", "dashboard-host": "0.0.0.0"},
                "template": self._pod("ray-head", self.head_cpus, self.head_memory_gib, spot=False),
            },
            "workerGroupSpecs": groups,
        }
        return {
            "apiVersion": "ray.io/v1",
            "kind": "RayJob",
            "metadata": metadata,
            "spec": {
                "entrypoint": run.command(),
                "submissionMode": "HTTPMode",  # the entrypoint as it is; the other mode lets one more shell read it
                "shutdownAfterJobFinishes": True,
                "ttlSecondsAfterFinished": self.ttl_seconds,
                "backoffLimit": self.retries,
                "rayClusterSpec": cluster,
            },
        }

    def launch(self, run: Run) -> int:
        if not self.claims:
            run.refuse_local("kuberay", "use a bucket, or mount a claim by cluster.claims")
        text = yaml.safe_dump(self.manifest(run), sort_keys=False, width=100)
        if self.file:
            Path(self.file).write_text(text, encoding="utf-8")
            life.say(f"{self.file}: kubectl create -f {self.file} starts the run")
        elif not self.apply:
            life.say(text.rstrip("\n"))
        if self.apply:
            _kubectl(["create", "-f", "-"], text)
            where = f" -n {self.namespace}" if self.namespace else ""
            life.say(
                f"created rayjob/{run.place}; segfill watch {run.sink} counts what is done, kubectl{where} get rayjob "
                f"{run.place} tells its state, kubectl{where} delete rayjob {run.place} ends it"
            )
        return EXIT_OK

    def _workers(self, name: str, group: Workers) -> dict[str, Any]:
        return {
            "groupName": name,
            "replicas": group.min,
            "minReplicas": group.min,
            "maxReplicas": group.max,
            "rayStartParams": {},
            "template": self._pod("ray-worker", group.cpus, group.memory_gib, gpus=group.gpus, spot=self.spot),
        }

    def _pod(self, name: str, cpus: int, memory_gib: int, *, gpus: int = 0, spot: bool) -> dict[str, Any]:
        """Requests are limits: Ray divides what a pod has, and what it only may have is not there when it matters."""
        resources = {"cpu": str(cpus), "memory": f"{memory_gib}Gi", **({_GPU: str(gpus)} if gpus else {})}
        shm = f"{int(1024 * memory_gib * self.shm_share)}Mi"
        volumes: list[dict[str, Any]] = [{"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": shm}}]
        mounts = [{"name": "shm", "mountPath": "/dev/shm"}]
        for number, each in enumerate(self.claims):
            claim, _, path = each.partition(":")
            volumes.append({"name": f"claim-{number}", "persistentVolumeClaim": {"claimName": claim}})
            mounts.append({"name": f"claim-{number}", "mountPath": path})
        container: dict[str, Any] = {
            "name": name,
            "image": self.image,
            "resources": {"requests": resources, "limits": resources},
            "volumeMounts": mounts,
            "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        }
        if self.env_from:
            container["envFrom"] = [{"secretRef": {"name": each}} for each in self.env_from]
        pod: dict[str, Any] = {
            "restartPolicy": "Never",  # the autoscaler replaces pods; one that comes back would be a stranger to it
            "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [container],
            "volumes": volumes,
        }
        if self.service_account:
            pod["serviceAccountName"] = self.service_account
        tolerations = [{"key": key, "operator": "Exists", "effect": "NoSchedule"} for key in self.spot_keys if spot]
        if gpus:
            tolerations.append({"key": _GPU, "operator": "Exists", "effect": "NoSchedule"})
        if tolerations:
            pod["tolerations"] = tolerations
        return {"spec": pod}


def _kubectl(command: list[str], given: str) -> None:
    if not shutil.which("kubectl"):
        raise ConfigError("cluster.apply: kubectl is not found; install it, or leave out apply and take the manifest")
    try:
        done = subprocess.run(
            ["kubectl", *command], input=given, capture_output=True, text=True, timeout=_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RunError(f"kubectl: {one_line(error)}; try again when the cluster answers") from error
    if "AlreadyExists" in done.stderr:
        raise ConfigError(
            "this output has a RayJob already: kubectl get rayjob shows it; delete it when it has ended, and the same "
            "command resumes the run"
        )
    if done.returncode:
        raise RunError(f"kubectl refused: {' '.join(done.stderr.split())[:300]}")
