"""cluster=vms: a file for `ray up`, which starts machines of AWS or Google Cloud and joins them to a Ray cluster.

The head costs little and stays; workers are spot machines that the autoscaler starts and stops. The run itself is then
sent by cluster=ray. Credentials do not travel: machines have an instance profile or a service account.
"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import yaml
from pydantic import Field

from pipeline import life
from pipeline.cluster.run import Run
from pipeline.errors import EXIT_OK, ConfigError
from pipeline.spec import spec

_TOKEN: Final = "/home/segfill/.ray/auth_token"
"""In the container of the Dockerfile's image."""
_GCP_IMAGE: Final = "projects/deeplearning-platform-release/global/images/family/common-cpu"


@spec
class Machines:
    """A kind of worker."""

    type: str = ""
    """Machine type of the cloud, such as m7i.4xlarge or n2-standard-16; empty: there are no such workers."""
    min: Annotated[int, Field(ge=0)] = 0
    """Machines at least."""
    max: Annotated[int, Field(ge=0)] = 0
    """Machines at most."""
    cpus: Annotated[int, Field(ge=0)] = 0
    """Cores of one; 0: Ray asks AWS, and must be told on Google Cloud."""
    gpus: Annotated[int, Field(ge=0)] = 0
    """GPUs of one."""

    def __post_init__(self) -> None:
        if self.min > self.max:
            raise ConfigError(f"min: expected at most max={self.max}, got {self.min}")


@spec
class Vms:
    provider: Literal["aws", "gcp"] = "aws"
    """The cloud."""
    region: str = ""
    """Such as eu-central-1 or europe-west3: that of the bucket, else each read is paid for."""
    zone: str = ""
    """Such as europe-west3-a: required on Google Cloud; empty: any of the region."""
    project: str = ""
    """Project of Google Cloud."""
    image: str = ""
    """Image that every machine runs: that of the Dockerfile, pushed to a registry that they reach."""
    machine_image: str = ""
    """Machine image with docker; empty: Ray's choice on AWS, a deep learning image on Google Cloud."""
    identity: str = ""
    """Instance profile (AWS, its ARN) or service account (Google Cloud, its address) of all machines; it may read the
    source and write the sink."""
    head_type: str = ""
    """Machine type of the head; empty: m7i.large or n2-standard-2."""
    cpu: Machines = Field(default_factory=Machines)
    """Workers without GPUs."""
    gpu: Machines = Field(default_factory=Machines)
    """Workers with GPUs."""
    spot: bool = True
    """Workers are spot machines: a lost one costs the units that it held."""
    disk_gib: Annotated[int, Field(ge=30)] = 150
    """Disk of a machine in GiB: the image, and what Ray spills."""
    idle_minutes: Annotated[int, Field(ge=1)] = 5
    """Workers without work are stopped after these."""
    file: str = ""
    """The file is written there; empty: to standard output."""

    def __post_init__(self) -> None:
        wanted = {"region": self.region, "image": self.image, "identity": self.identity}
        if self.provider == "gcp":
            wanted |= {"zone": self.zone, "project": self.project}
        if missing := [key for key, value in wanted.items() if not value]:
            raise ConfigError(f"cluster.{missing[0]} is required with provider={self.provider}: give a value")
        kinds = self._kinds()
        if not kinds:
            raise ConfigError("cluster.cpu.type and cluster.cpu.max (or those of gpu): expected one kind of worker")
        for name, kind in kinds.items():
            if self.provider == "gcp" and not kind.cpus:
                raise ConfigError(f"cluster.{name}.cpus: expected the cores of a {kind.type}, which Ray cannot ask for")

    def config(self, run: Run) -> dict[str, Any]:
        """What `ray up` reads, as Ray's own schema has it."""
        kinds = self._kinds()
        head = self.head_type or {"aws": "m7i.large", "gcp": "n2-standard-2"}[self.provider]
        types: dict[str, Any] = {
            "head": {"resources": {"CPU": 0}, "node_config": self._machine(head, gpus=0, spot=False)},
            **{
                name: {
                    "min_workers": kind.min,
                    "max_workers": kind.max,
                    "resources": {
                        **({"CPU": kind.cpus} if kind.cpus else {}),
                        **({"GPU": kind.gpus} if kind.gpus else {}),
                    },
                    "node_config": self._machine(kind.type, gpus=kind.gpus, spot=self.spot),
                }
                for name, kind in kinds.items()
            },
        }
        start = (
            f"export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH={_TOKEN} RAY_USAGE_STATS_ENABLED=0; "
            "ulimit -n 65536; ray start"
        )
        return {
            "cluster_name": run.place,
            "max_workers": sum(kind.max for kind in kinds.values()),
            "idle_timeout_minutes": self.idle_minutes,
            "provider": self._provider(),
            "auth": {"ssh_user": "ubuntu"},
            "docker": {
                "image": self.image,
                "container_name": "segfill",
                "pull_before_run": True,
                "run_options": ["--ulimit nofile=65536:65536"],
            },
            # The token of this machine: made once by `ray get-auth-token --generate`, sent by ssh.
            "file_mounts": {_TOKEN: "~/.ray/auth_token"},
            "head_node_type": "head",
            "available_node_types": types,
            "head_start_ray_commands": [
                f"{start} --head --port=6379 --num-cpus=0 --dashboard-host=127.0.0.1 "
                "--autoscaling-config=~/ray_bootstrap_config.yaml"
            ],
            "worker_start_ray_commands": [f"{start} --address=$RAY_HEAD_IP:6379"],
        }

    def launch(self, run: Run) -> int:
        run.refuse_local("vms", "use a bucket")
        text = yaml.safe_dump(self.config(run), sort_keys=False, width=120)
        again = shlex.join(["segfill", "submit", run.verb, *run.arguments, "cluster=ray"])
        name = shlex.quote(self.file or "FILE")
        steps = [
            "ray get-auth-token --generate   # once; all machines get it",
            f"ray up --yes {name}",
            f"RAY_AUTH_MODE=token ray dashboard {name} &   # a tunnel to the head",
            f"RAY_AUTH_MODE=token {again}",
            f"ray down --yes {name}   # all machines end, and their cost",
        ]
        if self.file:
            Path(self.file).write_text(text, encoding="utf-8")
            life.say("\n".join([f"{self.file} is written; then", *steps]))
        else:
            life.say("\n".join([*(f"# {step}" for step in steps), text.rstrip("\n")]))
        return EXIT_OK

    def _kinds(self) -> dict[str, Machines]:
        return {name: kind for name, kind in (("cpu", self.cpu), ("gpu", self.gpu)) if kind.type and kind.max}

    def _provider(self) -> dict[str, Any]:
        zone = {"availability_zone": self.zone} if self.zone else {}
        project = {"project_id": self.project} if self.provider == "gcp" else {}
        # Stopped machines keep their disks, and their cost.
        return {"type": self.provider, "region": self.region, **zone, **project, "cache_stopped_nodes": False}

    def _machine(self, kind: str, *, gpus: int, spot: bool) -> dict[str, Any]:
        if self.provider == "aws":
            disk = {"VolumeSize": self.disk_gib, "VolumeType": "gp3", "DeleteOnTermination": True}
            return {
                "InstanceType": kind,
                **({"ImageId": self.machine_image} if self.machine_image else {}),
                "IamInstanceProfile": {"Arn": self.identity},
                "BlockDeviceMappings": [{"DeviceName": "/dev/sda1", "Ebs": disk}],
                "MetadataOptions": {
                    "HttpTokens": "required",
                    "HttpPutResponseHopLimit": 2,
                },  # a container is a hop more
                **({"InstanceMarketOptions": {"MarketType": "spot"}} if spot else {}),
            }
        source = {"diskSizeGb": self.disk_gib, "sourceImage": self.machine_image or _GCP_IMAGE}
        return {
            "machineType": kind,
            "disks": [{"boot": True, "autoDelete": True, "type": "PERSISTENT", "initializeParams": source}],
            "serviceAccounts": [{"email": self.identity, "scopes": ["https://www.googleapis.com/auth/cloud-platform"]}],
            "scheduling": [{"preemptible": spot, **({"onHostMaintenance": "TERMINATE"} if spot or gpus else {})}],
        }
