"""The Dockerfile: linted, pinned by constraints.txt, not root; what it copies is what the package needs."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "Dockerfile").read_text()


def test_hadolint_has_nothing_to_say() -> None:
    hadolint = str(Path(sys.executable).parent / "hadolint")
    done = subprocess.run([hadolint, str(ROOT / "Dockerfile")], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")
    found = subprocess.run([hadolint, "-"], input="FROM debian\nRUN cd /x", capture_output=True, text=True, check=False)
    assert found.returncode == 1  # so it does look


def test_it_installs_by_the_constraints_and_ends_without_root() -> None:
    assert re.search(r'pip install --no-cache-dir --constraint constraints\.txt "\.\[\$\{EXTRAS\}\]"', TEXT)
    users = re.findall(r"^USER (\S+)$", TEXT, re.MULTILINE)
    assert users == ["10001"]  # a number, so that Kubernetes can tell that it is not root
    assert TEXT.index("USER 10001") < TEXT.index("CMD")


def test_everything_that_it_copies_is_here_and_not_ignored() -> None:
    copied = [word for line in re.findall(r"^COPY (?!--)(.+) \S+$", TEXT, re.MULTILINE) for word in line.split()]
    assert {"pyproject.toml", "constraints.txt", "conf", "jobs", "pipeline"} <= set(copied)
    assert [name for name in copied if not (ROOT / name).exists()] == []
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().split() if line.startswith("!")}
    assert kept == set(copied)
