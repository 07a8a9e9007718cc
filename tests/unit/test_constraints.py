"""Every package that `make setup` installs is pinned: the set that runs is the set that an audit checks."""

import re
import tomllib
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def pins() -> dict[str, Version]:
    lines = [line.partition("#")[0].strip() for line in (ROOT / "constraints.txt").read_text().splitlines()]
    found: dict[str, Version] = {}
    for line in filter(None, lines):
        name, exact, version = line.partition("==")
        assert exact, f"{line}: expected NAME==VERSION"
        assert canonicalize_name(name) not in found, f"{name} is pinned twice"
        found[canonicalize_name(name)] = Version(version)
    return found


def installed_by_dev() -> dict[str, Version]:
    """The closure of `.[dev]` as it is installed here: name -> version."""
    extras = PROJECT["optional-dependencies"]
    found: dict[str, Version] = {}
    seen: set[tuple[str, str]] = set()
    waiting = [(Requirement(line), "") for line in [*PROJECT["dependencies"], *extras["dev"]]]
    while waiting:
        requirement, extra = waiting.pop()
        if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
            continue
        name = canonicalize_name(requirement.name)
        if name == PROJECT["name"]:
            waiting += [(Requirement(line), "") for choice in requirement.extras for line in extras[choice]]
            continue
        part = distribution(requirement.name)
        found[name] = Version(Version(part.version).public)  # 2.13.0+cpu is the CPU build of 2.13.0
        for wanted in ("", *requirement.extras):
            if (name, wanted) not in seen:
                seen.add((name, wanted))
                waiting += [(Requirement(line), wanted) for line in part.requires or ()]
    return found


@pytest.mark.promise("every package that the set-up installs is pinned to one version")
def test_every_installed_package_is_pinned() -> None:
    pinned, found = pins(), installed_by_dev()
    assert len(found) > 60
    assert {name: str(version) for name, version in found.items() if pinned.get(name) != version} == {}


@pytest.mark.promise("every package that the set-up installs is pinned to one version")
def test_every_direct_dependency_is_exact_and_the_same() -> None:
    pinned = pins()
    for group in (PROJECT["dependencies"], PROJECT["optional-dependencies"]["dev"]):
        for requirement in map(Requirement, group):
            if requirement.name != PROJECT["name"]:
                assert re.fullmatch(r"==[^*,]+", str(requirement.specifier)), requirement
                assert requirement.specifier.contains(pinned[canonicalize_name(requirement.name)]), requirement


FLOORS = {
    "ray": ("2.56", "CVE-2026-41486, CVE-2026-57516"),
    "onnx": ("1.21", "CVE-2026-27489, CVE-2026-28500, CVE-2026-34445"),
    "pillow": ("12.3", "CVE-2026-25990, CVE-2026-40192, CVE-2026-55379, CVE-2026-59200 and others"),
    "hydra-core": ("1.3.4", "CVE-2026-68508"),
    "pyarrow": ("23.0.1", "CVE-2026-25087"),
    "aiohttp": ("3.14.3", "CVE-2026-59881, CVE-2026-69243, CVE-2026-69244"),
    "urllib3": ("2.7", "CVE-2026-44431, CVE-2026-44432"),
    "idna": ("3.16", "CVE-2026-45409"),
}
"""The first versions without the vulnerabilities that the projects reported themselves. SECURITY.md says how to check
for new ones."""


@pytest.mark.parametrize("name", FLOORS)
def test_no_pin_is_older_than_a_known_hole(name: str) -> None:
    floor, holes = FLOORS[name]
    assert pins()[name] >= Version(floor), holes
