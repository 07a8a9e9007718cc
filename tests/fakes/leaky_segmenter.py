"""A segmenter whose errors quote secrets.

`plugins=[tests] segment.faces._target_=tests.fakes.leaky_segmenter.LeakyFaces` puts it into a run.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.errors import ImageError
from pipeline.records import Device, Segments, View
from pipeline.segment.faces import Faces, FacesModel
from pipeline.spec import spec


@spec
class LeakyFaces(Faces):
    def load(self, device: Device, threads: int) -> _LeakyFaces:  # type: ignore[override]
        return _LeakyFaces(super().load(device, threads))


@dataclass(frozen=True)
class _LeakyFaces:
    loaded: FacesModel

    def __call__(self, views: Sequence[View]) -> list[Segments]:
        """Fail on pictures of three heights, each in another way."""
        heights = {view.height for view in views}
        if 41 in heights:
            raise OSError(
                f"login as {os.environ['AWS_ACCESS_KEY_ID']} with {os.environ['AWS_SECRET_ACCESS_KEY']} failed"
            )
        if 42 in heights:
            raise ImageError("lost", f"GET https://user:{os.environ['URI_PASSPHRASE']}@host/x: 403")
        if 43 in heights:
            raise RuntimeError(
                f"no model for {os.environ['HF_TOKEN']!r}; see https://host/x?sig={os.environ['SAS_SIG']}"
            )
        return self.loaded(views)
