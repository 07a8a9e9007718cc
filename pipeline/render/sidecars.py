"""Filters the sidecars that a private run may publish with an image."""

from __future__ import annotations

import pyarrow as pa

from pipeline.errors import ImageError, one_line
from pipeline.records import Sidecar


def harmless(sidecars: tuple[Sidecar, ...]) -> tuple[Sidecar, ...]:
    """Return the sidecars that cannot hold the image again, for a private run with keep_sidecars.

    Files: only text (UTF-8 without NUL), whatever their name: an image, an array, an archive or an embedding is binary.
    Columns: only scalars, strings, and lists and structs of strings; binary cells and lists of numbers (pixels,
    embeddings) are dropped. The content of a text (a name, a place, a base64 image) is not checked: the user accepts it
    with keep_sidecars. Raises ImageError `bad_sidecar`.
    """
    return tuple(kept for sidecar in sidecars for kept in _harmless(sidecar))


def _harmless(sidecar: Sidecar) -> tuple[Sidecar, ...]:
    if sidecar.kind == "file":
        return (sidecar,) if _is_text(sidecar.data) else ()
    try:
        with pa.ipc.open_stream(sidecar.data) as reader:
            table = reader.read_all()
    except (pa.ArrowException, OSError) as error:
        raise ImageError("bad_sidecar", f"expected an Arrow stream of one row, got: {one_line(error)}") from error
    names = [field.name for field in table.schema if _is_plain(field.type, in_list=False)]
    if not names:
        return ()
    out = pa.BufferOutputStream()
    kept = table.select(names)  # its metadata names the classes of labels; the sink writes those of kept columns only
    with pa.ipc.new_stream(out, kept.schema) as writer:
        writer.write_table(kept)
    return (Sidecar(name=sidecar.name, data=out.getvalue().to_pybytes(), kind="columns"),)


def _is_text(data: bytes) -> bool:
    if b"\0" in data:
        return False
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _is_plain(kind: pa.DataType, *, in_list: bool) -> bool:
    if pa.types.is_dictionary(kind):
        return _is_plain(kind.value_type, in_list=in_list)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return _is_plain(kind.value_type, in_list=True)
    if pa.types.is_struct(kind):
        return all(_is_plain(field.type, in_list=in_list) for field in kind)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_boolean(kind):
        return True
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return not in_list
    return bool(pa.types.is_temporal(kind) or pa.types.is_null(kind))
