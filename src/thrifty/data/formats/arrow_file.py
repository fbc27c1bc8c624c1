"""Arrow IPC files: written batch by batch, read through a memory map whose pages can be given back."""

from __future__ import annotations

import mmap
import os
import weakref
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from thrifty.core.errors import DataError, ExternalError
from thrifty.core.files import replacing

if TYPE_CHECKING:
    import pyarrow as pa

BATCH_ROWS = 65_536


_MAPS: weakref.WeakSet[mmap.mmap] = weakref.WeakSet()


def write(path: Path, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> None:
    """Writes the batches as one file, whole or not at all. Raises ExternalError."""
    import pyarrow as pa

    try:
        with (
            replacing(path) as temporary,
            pa.OSFile(str(temporary), "wb") as sink,
            pa.ipc.new_file(sink, schema) as out,
        ):
            for batch in batches:
                out.write_batch(batch)
                give_back()
    except OSError as error:
        raise ExternalError(f"{path} cannot be written: {error.strerror or error}") from error


def open_mapped(path: Path) -> pa.Table:
    """The table in a file that `write` wrote, without reading it. Raises DataError."""
    import pyarrow as pa

    with path.open("rb") as file:
        if os.fstat(file.fileno()).st_size == 0:
            raise DataError(f"{path} is empty (0 bytes)")
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    try:
        table = pa.ipc.open_file(pa.py_buffer(mapped)).read_all()
    except pa.ArrowInvalid as error:
        raise DataError(f"{path} is not a whole Arrow file: {error}") from error
    _MAPS.add(mapped)
    return table


def give_back() -> None:
    """Drops the pages of all files mapped here from this process's memory; they come back when they are read again."""
    for mapped in list(_MAPS):
        if hasattr(mapped, "madvise"):  # not on every system
            mapped.madvise(mmap.MADV_DONTNEED)
    if _MAPS:
        import pyarrow as pa

        pa.default_memory_pool().release_unused()
