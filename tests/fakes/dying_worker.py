"""Workers of execute=processes that end before they are ready, and a model that cannot be loaded."""

import os
from multiprocessing.connection import Connection
from typing import NoReturn

from pipeline.records import Device
from pipeline.spec import spec
from tests.fakes.slow_stages import SlowFaces


def serve(pipe: Connection) -> None:
    os._exit(7)


@spec
class UnloadableFaces(SlowFaces):
    def load(self, device: Device, threads: int) -> NoReturn:
        raise ValueError("no such chip")
