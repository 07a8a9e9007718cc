"""Every command of the documentation runs as it stands there: docs/README.md says how."""

import io
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageDraw, ImageFont

from jobs.demo_shards import photograph
from jobs.entry import segfill
from pipeline import build
from pipeline.storage.store import open_store
from tests.fakes.doc_blocks import Block, blocks
from tests.fakes.s3_server import S3
from tests.fakes.tar_samples import tar_of

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
RUN = ("sh", "bash", "python")
OTHER = ("", "text", "yaml", "json")
SECONDS = 120


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A portrait with a place in its EXIF, a red cup with a caption, a cat in a folder; the first two as a tar and as
    Parquet."""
    folder = tmp_path_factory.mktemp("inputs")
    cup = photograph("coffee.png").convert("RGB").resize((300, 200))
    ImageDraw.Draw(cup).text(
        (150, 180), "SAMPLE", "white", ImageFont.load_default(size=30), "mm", stroke_width=2, stroke_fill="black"
    )
    located = Image.Exif()
    located.get_ifd(0x8825).update({1: "N", 2: (48.0, 51.0, 24.0), 3: "E", 4: (2.0, 21.0, 7.0)})
    files = {
        "portrait.jpg": _jpeg(photograph("astronaut.png").convert("RGB").crop((96, 0, 352, 256)), located),
        "cup.jpg": _jpeg(cup, Image.Exif()),
        "trips/cat.jpg": _jpeg(photograph("chelsea.png").convert("RGB").resize((225, 150)), Image.Exif()),
    }
    for name, data in files.items():
        (folder / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "photos" / name).write_bytes(data)
    (folder / "shards").mkdir()
    sample = {name: files[name] for name in ("portrait.jpg", "cup.jpg")}
    members = sorted({**sample, "portrait.txt": b"a portrait"}.items())
    (folder / "shards/000000.tar").write_bytes(tar_of(members))
    columns = {"photo": list(sample.values()), "name": list(sample), "caption": ["a portrait", "a cup"]}
    pq.write_table(pa.table(columns), folder / "photos.parquet")
    return folder


def _jpeg(picture: Image.Image, exif: Image.Exif) -> bytes:
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=92, exif=exif)
    return out.getvalue()


@pytest.fixture
def sandbox(tmp_path: Path, inputs: Path) -> Path:
    """What a reader has: the inputs, a checkout with a conf/ of their own, and the installed command."""
    folder = tmp_path / "here"
    shutil.copytree(inputs, folder)
    shutil.copytree(build.CONF, folder / "conf")
    for name in ("pipeline", "jobs"):
        (folder / name).symlink_to(ROOT / name)
    module, function = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]["segfill"].split(":")
    (tmp_path / "bin").mkdir()
    script = tmp_path / "bin/segfill"
    script.write_text(
        f"#!{sys.executable}\nimport os, sys\nsys.path.insert(0, {str(folder)!r})\nfrom {module} import {function}\n"
        "given = sys.argv[1:]\n"
        "for default in os.environ['DEFAULTS'].split():\n"
        f"    if given[:1] and given[0] in {build.JOBS} and default.split('=')[0] not in ' '.join(given):\n"
        "        given.append(default)\n"
        f"sys.exit({function}(given))\n"
    )
    script.chmod(0o755)
    return folder


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_of_the_page_runs(page: Path, sandbox: Path, request: pytest.FixtureRequest) -> None:
    found = blocks(page)
    environment = {**os.environ, "PYTHONPATH": str(sandbox), "PYTHONDONTWRITEBYTECODE": "1"}
    environment["PATH"] = os.pathsep.join([str(sandbox.parent / "bin"), str(Path(sys.executable).parent), os.defpath])
    # The audit takes seven seconds of a core a run: the page that is about it has it.
    environment["DEFAULTS"] = "execute=local" if page.name == "privacy.md" else "execute=local audit=none"
    if any("s3://" in block.text and block.language in RUN and "not run" not in block.asks for block in found):
        s3: S3 = request.getfixturevalue("s3")
        open_store(s3.uri("shards")).put("000000.tar", (sandbox / "shards/000000.tar").read_bytes())
        environment.update(s3.environment())
    for block in found:
        where = f"{page.name}:{block.line}"
        if name := block.asks.get("file"):
            (sandbox / name).parent.mkdir(parents=True, exist_ok=True)
            (sandbox / name).write_text(block.text)
        elif "not run" not in block.asks and block.language in RUN:
            program = [sys.executable, "-c"] if block.language == "python" else ["bash", "-euo", "pipefail", "-c"]
            done = subprocess.run(
                [*program, block.text], cwd=sandbox, env=environment, capture_output=True, text=True, timeout=SECONDS,
                check=False,
            )  # fmt: skip
            assert done.returncode == int(block.asks.get("exits", 0)), f"{where}\n{done.stdout}\n{done.stderr}"
            assert "Traceback" not in done.stderr, f"{where}\n{done.stderr}"


SKIPPED = [(page, block) for page in PAGES for block in blocks(page) if {"not run", "composed"} & set(block.asks)]


@pytest.mark.parametrize(("page", "block"), SKIPPED, ids=[f"{page.name}-{block.line}" for page, block in SKIPPED])
def test_what_is_not_run_has_a_reason_and_composes(
    page: Path, block: Block, capsys: pytest.CaptureFixture[str]
) -> None:
    if job := block.asks.get("composed"):
        for line in block.commands:
            build.compose(job, shlex.split(line, comments=True))
        return
    assert len(block.asks["not run"].split()) > 3
    for line in block.commands:
        words = shlex.split(line, comments=True)
        if "segfill" in words:
            code = segfill([*words[words.index("segfill") + 1 :], "--cfg", "job"])
            assert code == 0, f"{page.name}:{block.line}: {capsys.readouterr().err}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_block_says_what_it_is_and_every_link_leads_somewhere(page: Path) -> None:
    assert {block.language for block in blocks(page)} <= {*RUN, *OTHER}
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    assert not re.search(r"^    (segfill|python|make|\.venv) ", text, re.MULTILINE), "a command outside a code block"
    links = [link for link in re.findall(r"\]\(([^)#\s]+)", text) if "://" not in link]
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_the_index_names_every_page() -> None:
    index = (ROOT / "docs/README.md").read_text()
    assert [page.name for page in PAGES[2:] if page.name != "README.md" and f"({page.name})" not in index] == []


def test_the_architecture_names_what_is_there() -> None:
    page = (ROOT / "docs/architecture.md").read_text()
    cells = re.findall(r"`((?:pipeline|jobs|tests|conf)/[\w/.]*)`", page)
    assert len(cells) > 20
    assert [cell for cell in cells if not (ROOT / cell).exists()] == []
    for line in (line for line in page.splitlines() if line.startswith("| ") and "flow.py" in line):
        for module, name in re.findall(r"`(pipeline/[\w/.]+\.py)` `(\w+)`", line):
            assert re.search(rf"(def|class) {name}\b", (ROOT / module).read_text()), f"{module}: {name}"
    tree = page[page.index("    pipeline/") : page.index("    jobs/")]
    named = set(re.findall(r"^      (\w+)/", tree, re.MULTILINE))
    there = {path.name for path in (ROOT / "pipeline").iterdir() if (path / "__init__.py").exists()}
    assert named == there


def test_the_readme_stays_a_page_and_its_picture_small() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 100
    assert (ROOT / "docs/before_mask_after.jpg").stat().st_size < 120_000


@pytest.mark.parametrize(
    ("text", "expected"),
    [("```sh\nls\n", "not closed"), ("<!-- exits: 2 -->\n\n```sh\nls\n```\n", "directly above")],
)
def test_a_page_that_cannot_be_read_is_named(text: str, expected: str, tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text(text)
    with pytest.raises(AssertionError, match=expected):
        blocks(tmp_path / "page.md")


def test_a_block_knows_its_commands(tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text("<!-- exits: 2 -->\n```sh\na \\\n  b\n\nc\n```\n")
    (block,) = blocks(tmp_path / "page.md")
    assert [command.split() for command in block.commands] == [["a", "b"], ["c"]]
    assert (block.asks, block.line) == ({"exits": "2"}, 2)
