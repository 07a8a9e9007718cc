"""Stages that kill their worker: `plugins=[tests]` and `_target_: tests.fakes.deadly_stages.NAME` put one into a run.

An image's name chooses what decode does: `segfault`, `hang` (holding the interpreter's lock) or `memory`.
"""

from __future__ import annotations

import ctypes
import os
import re
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.image.decode import Decode, Decoder
from pipeline.image.view import ViewSpec
from pipeline.records import Device, EncodedImage, Segments, View
from pipeline.segment.faces import Faces, FacesModel
from pipeline.spec import spec

PIECE, PIECES = 32 << 20, 24


@spec
class DeadlyDecode(Decode):
    def load(self) -> Decoder:
        return _DeadlyDecoder(self)


class _DeadlyDecoder(Decoder):
    def views(self, image: EncodedImage, specs: Sequence[ViewSpec]) -> tuple[View, ...]:
        if "segfault" in image.ref.key:
            ctypes.string_at(0)
        if "hang" in image.ref.key:
            re.match("(a+)+$", "a" * 64 + "b")
        if "memory" in image.ref.key:
            _take_all()
        return super().views(image, specs)


def _take_all() -> None:
    """Take memory until the kernel would kill the process."""
    held = []
    for _ in range(PIECES):
        held.append(b"1" * PIECE)
        time.sleep(0.04)
    os.kill(os.getpid(), signal.SIGKILL)


@spec
class DeadlyFaces(Faces):
    """Raises on an all-green picture and dies of an all-blue one."""

    def load(self, device: Device, threads: int) -> _DeadlyFaces:  # type: ignore[override]
        return _DeadlyFaces(super().load(device, threads))


@dataclass(frozen=True)
class _DeadlyFaces:
    loaded: FacesModel

    def __call__(self, views: Sequence[View]) -> list[Segments]:
        for view in views:
            colour = view.tiles[0].pixels[0, 0].tolist()
            if colour == [0, 255, 0]:
                raise ValueError("a green picture")
            if colour == [0, 0, 255]:
                os.kill(os.getpid(), signal.SIGSEGV)
        return self.loaded(views)
