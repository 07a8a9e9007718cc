"""A sink that replaces objects of the source while a run reads it.

`plugins=[tests]` and `sink._target_=tests.fakes.changing_sink.ChangingSink` put it into a run.
"""

from __future__ import annotations

from pipeline.records import Unit
from pipeline.sink.unit_writer import Facts, Sink, UnitWriter
from pipeline.spec import spec
from pipeline.storage.store import open_store


@spec
class ChangingSink(Sink):
    """The real sink. After the first unit is read it replaces objects below `source` by those of the same names below
    `others`."""

    source: str
    others: str

    def writer(self, unit: Unit, facts: Facts) -> UnitWriter:
        source, others = open_store(self.source), open_store(self.others)
        for info in others.list():
            source.put(info.path, others.read(info.path))
            others.delete([info.path])
        return super().writer(unit, facts)
