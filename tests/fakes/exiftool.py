"""Metadata as exiftool reads it: the tags of a file beyond those that describe its picture."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

EXIFTOOL = shutil.which("exiftool")
MISSING = "exiftool is not installed (Debian: libimage-exiftool-perl)"

ALLOWED = {
    # Groups that describe the picture itself. TIFF's own directory is called IFD0; its tags are checked by name.
    "ExifTool", "System", "File", "Composite", "JFIF", "APP14", "Adobe", "PNG", "PNG-pHYs", "RIFF", "GIF", "BMP",
    "QuickTime", "Meta", "SourceFile",
}  # fmt: skip
TIFF_TAGS = {
    "ImageWidth", "ImageHeight", "BitsPerSample", "Compression", "PhotometricInterpretation", "StripOffsets",
    "SamplesPerPixel", "RowsPerStrip", "StripByteCounts", "XResolution", "YResolution", "PlanarConfiguration",
    "ResolutionUnit", "Predictor", "ColorMap", "ExtraSamples", "SampleFormat", "JPEGTables", "YCbCrSubSampling",
    "ReferenceBlackWhite", "T6Options", "FillOrder", "InkSet", "YCbCrPositioning",
    "PreviewImageStart", "PreviewImageLength", "PreviewImage",  # exiftool's names for a strip that is coded as JPEG
}  # fmt: skip


def tags(folder: Path, names: Sequence[str]) -> dict[str, dict[str, object]]:
    """Read the tags of files by their path in a folder: name -> `Group:Tag` -> value."""
    assert EXIFTOOL is not None
    command = [EXIFTOOL, "-j", "-a", "-u", "-ee", "-G1", "-q", *names]
    done = subprocess.run(command, cwd=folder, capture_output=True, check=False)
    return {str(answer.pop("SourceFile")): answer for answer in json.loads(done.stdout)}


def beyond_the_picture(name: str, found: dict[str, object]) -> list[str]:
    """The tags that do not describe the picture, and those that report something odd."""
    tiff = "tif" in Path(name).name
    odd = []
    for tag, value in found.items():
        group, _, short = tag.partition(":")
        known = short in TIFF_TAGS if group == "IFD0" and tiff else group in ALLOWED
        if not known or short in ("Warning", "Comment", "Error"):
            odd.append(f"{tag} = {value!r}"[:120])
    return odd
