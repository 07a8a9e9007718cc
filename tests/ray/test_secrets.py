"""A real run from S3 to S3 through Ray, with secrets everywhere: its objects, logs and messages contain none."""

from __future__ import annotations

import base64
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from PIL import Image, PngImagePlugin

from jobs.entry import main
from pipeline.storage.store import open_store
from tests.fakes.input_catalogue import entry, plain, tar
from tests.fakes.leak_scan import blobs
from tests.fakes.metadata_samples import SECRET, jpeg, saved, small
from tests.fakes.s3_server import S3, serve

ROOT = Path(__file__).parents[2]
PROMISE = "a planted secret is in no output, log, page or message"

AMBIENT = {
    "AWS_ACCESS_KEY_ID": "AKIA5PLANTED7KEY9ABC",
    "AWS_SECRET_ACCESS_KEY": "pl4nted/aws+secret/key0123456789abcdefgh",
    "RAY_AUTH_TOKEN": "pl4nted-ray-auth-token-0123456789abcdef",
    "HF_TOKEN": "hf_pl4ntedHuggingFaceToken",
    "GITHUB_TOKEN": "ghp_pl4ntedGithubToken",
    "AZURE_STORAGE_ACCOUNT_KEY": "pl4ntedAzureAccountKey==",
    "GOOGLE_API_KEY": "AIzapl4ntedGoogleKey",
    "DATABASE_PASSWORD": "pl4nted-database-password",
    "URI_PASSPHRASE": "pl4nted-uri-pass",  # in the environment under a name that says nothing
    "SAS_SIG": "pl4nted%2Fsas%2Bsignature",
    "PIP_INDEX_URL": "https://me:pl4nted-index-password@127.0.0.1:9/simple",
}
SESSION = {"AWS_SESSION_TOKEN": "pl4nted-session-token-0123456789"}
IN_EXIF, IN_PNG, IN_TAIL, IN_TXT, IN_JSON, IN_NAME = (
    "pl4nted-exif-1", "pl4nted-png-text", "pl4nted-behind-the-end", "pl4nted-caption", "pl4nted-json", "pl4nted-sidecar"
)  # fmt: skip
IN_URI, IN_QUERY, IN_VALUE = "pl4nted-in-the-uri", "pl4nted-in-the-query", "pl4nted-in-a-value"
SECRETS = {name: value.removeprefix("https://me:").partition("@")[0] for name, value in (AMBIENT | SESSION).items()}
SECRETS |= {"exif": IN_EXIF, "png": IN_PNG, "tail": IN_TAIL, "caption": IN_TXT, "json": IN_JSON, "extension": IN_NAME}
SECRETS |= {"uri": IN_URI, "query": IN_QUERY, "value": IN_VALUE}


@pytest.fixture(scope="module")
def server() -> Iterator[S3]:
    with serve(key=AMBIENT["AWS_ACCESS_KEY_ID"], secret=AMBIENT["AWS_SECRET_ACCESS_KEY"]) as running:
        before = dict(os.environ)
        os.environ.update(running.environment())
        try:
            yield running
        finally:
            os.environ.clear()
            os.environ.update(before)


@pytest.fixture
def session() -> Iterator[Path]:
    """The folder of Ray's logs and sockets; paths of sockets must be short."""
    folder = Path(tempfile.mkdtemp(prefix="seg-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def shard() -> bytes:
    info = PngImagePlugin.PngInfo()
    info.add_text("Comment", IN_PNG)
    info.add_itxt("XML:com.adobe.xmp", f"<x:xmpmeta>{IN_PNG}</x:xmpmeta>")
    assert len(IN_EXIF) == len(SECRET)  # lengths inside the metadata stay right
    entries = [
        entry("face.jpg", jpeg(small()).replace(SECRET, IN_EXIF.encode())),
        entry("face.txt", IN_TXT.encode()),
        entry("face.json", f'{{"who": "{IN_JSON}"}}'.encode()),
        entry(f"face.{IN_NAME}", b"x"),
        entry("plain.png", saved(plain(), "PNG", pnginfo=info) + IN_TAIL.encode()),
        *(entry(f"fails{height}.png", saved(plain(50, height), "PNG")) for height in (41, 42, 43)),
        entry("broken.jpg", saved(Image.new("RGB", (50, 50)), "JPEG", comment=IN_EXIF.encode())[:500]),
    ]
    return tar(*entries)


def run(where: S3, session: Path, *overrides: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    ambient = {**os.environ, **where.environment(), **AMBIENT, "RAY_AUTH_MODE": "token", "RAY_TMPDIR": str(session)}
    command = [sys.executable, "-m", "jobs.anonymize", f"source.uri={where.uri('in')}", f"sink.uri={where.uri('out')}"]
    return subprocess.run(
        [*command, "execute=ray", *overrides],
        cwd=ROOT,
        env={**ambient, **environment},
        capture_output=True,
        timeout=280,
    )


def found(places: dict[str, bytes]) -> list[str]:
    """The places of a secret, plain or encoded as in logs and pages."""
    return [
        f"{secret} in {place}"
        for place, data in places.items()
        for secret, value in SECRETS.items()
        for form in {value.encode(), quote(value, safe="").encode(), base64.b64encode(value.encode()).rstrip(b"=")[:-1]}
        if form in data
    ]


def files(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file() and not path.is_symlink()}


def downloaded(uri: str, folder: Path) -> dict[str, bytes]:
    """Every object, and the contents of archives and tables."""
    store = open_store(uri)
    for item in store.list():
        path = folder / item.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(store.read(item.path))
    return {f"{number} {name}": data for number, (name, data) in enumerate(blobs(folder))}


@pytest.mark.promise(PROMISE)
def test_no_planted_secret_gets_out(
    server: S3, session: Path, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    open_store(server.uri("in")).put("a.tar", shard())
    leaky = ["plugins=[tests]", "segment.faces._target_=tests.fakes.leaky_segmenter.LeakyFaces", "max_reject_share=1.0"]
    done = run(server, session, *leaky)
    assert done.returncode == 0, done.stderr.decode()
    whole = {"stdout": done.stdout, "stderr": done.stderr, **files(session)}
    logs = [name for name in whole if "/logs/" in name]
    assert any("raylet" in name for name in logs)
    assert any("worker" in name for name in logs)
    published = downloaded(server.uri("out"), tmp_path / "out")
    assert any(name.endswith("index.html") for name in published)
    report = next(data for name, data in published.items() if name.endswith("index.html")).decode()
    assert "login as *** with *** failed" in report.replace("&#39;", "'")  # the plugin's message, without its secrets
    assert "https://***@host/x: 403" in report
    record_property("tried", len(SECRETS))
    leaks = found({**whole, **published})
    record_property("held", len(SECRETS) - len({leak.partition(" in ")[0] for leak in leaks}))
    assert leaks == []


@pytest.mark.promise(PROMISE)
@pytest.mark.parametrize(
    "ambient",
    [
        {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"},
        {"AWS_SECRET_ACCESS_KEY": "pl4nted-but-the-wrong-one"},
        SESSION,
    ],
    ids=["unreachable", "wrong key", "unknown session"],
)
def test_a_refusal_by_the_store_repeats_none(ambient: dict[str, str], server: S3, session: Path) -> None:
    done = run(server, session, "execute=local", **ambient, AWS_MAX_ATTEMPTS="1")
    assert done.returncode == 2
    said = {"stdout": done.stdout, "stderr": done.stderr}
    assert found(said) == []
    assert b"pl4nted" not in done.stdout + done.stderr
    assert b"Traceback" not in done.stderr


@pytest.mark.promise(PROMISE)
def test_nor_does_the_driver_where_everything_is_logged(server: S3, session: Path) -> None:
    done = run(server, session, "execute=local", f"source.uri={server.uri('nothing')}", SEGFILL_LOG="DEBUG")
    assert done.returncode == 2
    assert b"botocore" in done.stderr
    assert b"authorization" in done.stderr.lower()
    assert found({"stdout": done.stdout, "stderr": done.stderr}) == []
    assert not re.search(rb"[Ss]ignature['\"]?[:=] ?['\"]?[0-9a-f]{8}", done.stderr)


@pytest.mark.promise(PROMISE)
@pytest.mark.parametrize(
    "override",
    [
        f"sink.uri=s3://user:{IN_URI}@bucket/x",
        f"sink.uri='s3://bucket/x?X-Amz-Signature={IN_QUERY}'",
        f"+sink.token={IN_VALUE}",
        f"fill={{password:{IN_VALUE}}}",
        f"--secret={IN_VALUE}",
    ],
)
def test_a_refused_config_is_not_repeated(override: str, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    assert main("anonymize", ["source.uri=in", "sink.uri=out", override]) == 2
    said = capfdbinary.readouterr()
    assert found({"stdout": said.out, "stderr": said.err}) == []


def test_the_search_finds_what_is_there(tmp_path: Path) -> None:
    """Without this the test above would prove nothing."""
    for number, value in enumerate(SECRETS.values()):
        (tmp_path / f"{number}.log").write_bytes(b"xx" + value.encode() + b"yy")
    assert len(found(files(tmp_path))) >= len(SECRETS)
    assert len(SECRETS) >= 20
    (tmp_path / "in.tar").write_bytes(shard())
    inside = dict(blobs(tmp_path))
    assert {leak.partition(" in ")[0] for leak in found(inside)} >= {
        "exif",
        "png",
        "tail",
        "caption",
        "json",
        "extension",
    }
