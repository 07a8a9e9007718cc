"""SECURITY.md points at code that is there."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_place_it_names_exists() -> None:
    rows = [line for line in (ROOT / "SECURITY.md").read_text().splitlines() if line.startswith("| ")]
    where = [row.rsplit("|", 2)[1] for row in rows[2:]]
    files = {name for cell in where for name in re.findall(r"`([\w/]+(?:\.py|\.html|/))`", cell)}
    assert len(files) > 20
    assert [name for name in sorted(files) if not ((ROOT / "pipeline" / name).exists() or (ROOT / name).exists())] == []
    for cell in where:
        module = ""
        for name in re.findall(r"`([^`]+)`", cell):
            if "." in name or "/" in name:
                module = name
            else:
                assert re.search(rf"def {name}\b", (ROOT / "pipeline" / module).read_text()), f"{module}: {name}"
