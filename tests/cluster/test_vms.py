"""The file of cluster=vms is what Ray's own schema for `ray up` takes, on both clouds."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import ray
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

from jobs.entry import segfill
from pipeline.cluster.run import Run
from pipeline.cluster.vms import Machines, Vms

RUN = Run(
    verb="clean",
    arguments=("source.uri=s3://b/in", "sink.uri=s3://b/out"),
    source="s3://b/in",
    sink="s3://b/out",
    config={},
)
AWS = Vms(
    region="eu-central-1",
    image="registry.example/segfill@sha256:0123",
    identity="arn:aws:iam::123456789012:instance-profile/segfill",
    cpu=Machines(type="m7i.4xlarge", max=20),
    gpu=Machines(type="g6.2xlarge", min=1, max=4, gpus=1),
)
GCP = Vms(
    provider="gcp",
    region="europe-west3",
    zone="europe-west3-a",
    project="photos",
    image="registry.example/segfill@sha256:0123",
    identity="segfill@photos.iam.gserviceaccount.com",
    cpu=Machines(type="n2-standard-16", max=20, cpus=16),
)
SCHEMA = json.loads((Path(ray.__file__).parent / "autoscaler/ray-schema.json").read_text())


def read(made: Vms) -> dict[str, Any]:
    found = yaml.safe_load(yaml.safe_dump(made.config(RUN)))
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize("made", [AWS, GCP], ids=["aws", "gcp"])
def test_ray_takes_the_file(made: Vms) -> None:
    config = read(made)
    jsonschema.validate(config, SCHEMA)
    validate_config(prepare_config(config))  # as `ray up` calls it
    commands = [*config["head_start_ray_commands"], *config["worker_start_ray_commands"]]
    assert all("ray start" in command and "RAY_AUTH_MODE=token" in command for command in commands)
    assert not any("ray stop" in command for command in commands)
    assert config["available_node_types"]["head"]["resources"] == {"CPU": 0}
    assert config["max_workers"] == sum(kind.get("max_workers", 0) for kind in config["available_node_types"].values())


def test_the_schema_finds_a_fault() -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**read(AWS), "idle_minutes": 5}, SCHEMA)


def test_workers_are_spot_machines_and_the_head_is_not() -> None:
    aws = {name: kind["node_config"] for name, kind in read(AWS)["available_node_types"].items()}
    assert {name: "InstanceMarketOptions" in config for name, config in aws.items()} == {
        "head": False, "cpu": True, "gpu": True,
    }  # fmt: skip
    gcp = {name: kind["node_config"]["scheduling"] for name, kind in read(GCP)["available_node_types"].items()}
    assert gcp["head"] == [{"preemptible": False}]
    assert gcp["cpu"] == [{"preemptible": True, "onHostMaintenance": "TERMINATE"}]
    assert {config["IamInstanceProfile"]["Arn"] for config in aws.values()} == {AWS.identity}


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ([], "submit: cluster.identity, cluster.image, cluster.region are required"),
        (["region=r", "image=i", "identity=a"], "expected one kind of worker"),
        (["provider=gcp", "region=r", "image=i", "identity=a"], "cluster.zone is required with provider=gcp"),
        (["provider=azure", "region=r", "image=i", "identity=a"], "cluster.provider: expected aws or gcp, got 'azure'"),
    ],
)
def test_a_mistake_is_one_line(keys: list[str], expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["submit", "clean", "s3://b/in", "s3://b/out", "cluster=vms"]
    assert segfill([*words, *(f"cluster.{key}" for key in keys)]) == 2
    assert expected in capsys.readouterr().err


def test_it_says_what_to_do_next(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    keys = ["region=r", "image=i", "identity=a", "cpu.type=m7i.large", "cpu.max=2", f"file={tmp_path}/up.yaml"]
    words = ["submit", "clean", "s3://b/in", "s3://b/out", "cluster=vms", *(f"cluster.{key}" for key in keys)]
    assert segfill(words) == 0
    said = capsys.readouterr().out
    assert f"ray up --yes {tmp_path}/up.yaml" in said
    assert "segfill submit clean source.uri=s3://b/in sink.uri=s3://b/out cluster=ray" in said
    jsonschema.validate(yaml.safe_load((tmp_path / "up.yaml").read_text()), SCHEMA)
