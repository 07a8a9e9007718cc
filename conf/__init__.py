"""The configs, as a package, so that an installed entry point finds them: a file a verb, a folder a group."""

from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).parent


def about(name: str) -> str:
    """What a yaml is for: its first comment. name: its path here without `.yaml`. `# @package` is Hydra's own."""
    lines = (line.removeprefix("#").strip() for line in (FOLDER / f"{name}.yaml").read_text().splitlines())
    return next((line for line in lines if not line.startswith("@package")), "")
