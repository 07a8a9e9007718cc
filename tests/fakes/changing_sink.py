"""A stranger who replaces objects of the source while a run reads it: `plugins=[tests]` puts this sink into the run."""

from __future__ import annotations

from pipeline.records import Unit
from pipeline.sink.unit_writer import Facts, Sink, UnitWriter
from pipeline.spec import spec
from pipeline.storage.store import open_store


@spec
class ChangingSink(Sink):
    """The real sink. When the first unit has been read, the objects below `others` replace those of the same names
    below `source`."""

    source: str
    others: str

    def writer(self, unit: Unit, facts: Facts) -> UnitWriter:
        source, others = open_store(self.source), open_store(self.others)
        for info in others.list():
            source.put(info.path, others.read(info.path))
            others.delete([info.path])
        return super().writer(unit, facts)
