"""Parquet, and Arrow's own files and streams (what `datasets` keeps); a row's place is its number."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from trainables.tasks.base import DataError
from trainables.tasks.formats.names import repeated
from trainables.tasks.formats.reading import Raw, Reading
from trainables.tasks.formats.source import Source

if TYPE_CHECKING:
    from pyarrow import RecordBatch

PARQUET, ARROW, STREAM = b"PAR1", b"ARROW1", b"\xff\xff\xff\xff"
"""First bytes."""

_ROWS = 4096


def read_parquet(source: Source, reading: Reading) -> Iterator[Raw]:
    """The rows of a Parquet file."""
    import pyarrow.parquet

    def batches(data: Any) -> Iterator[RecordBatch]:
        with pyarrow.parquet.ParquetFile(data) as file:
            yield from file.iter_batches(batch_size=_ROWS)

    return _rows(source, "a Parquet file", batches)


def read_arrow(source: Source, reading: Reading) -> Iterator[Raw]:
    """The rows of an Arrow file or stream."""
    import pyarrow.ipc

    def batches(data: Any) -> Iterator[RecordBatch]:
        data = pyarrow.memory_map(data) if isinstance(data, str) else data
        if source.head().startswith(ARROW):
            with pyarrow.ipc.open_file(data) as file:
                for i in range(file.num_record_batches):
                    yield file.get_batch(i)
        else:
            with pyarrow.ipc.open_stream(data) as stream:
                yield from stream

    return _rows(source, "an Arrow file", batches)


def _rows(source: Source, kind: str, batches: Any) -> Iterator[Raw]:
    import pyarrow

    number = 0
    try:
        data = pyarrow.BufferReader(source.whole()) if source.packing() else str(source.path)
        for batch in batches(data):
            if number == 0 and (problem := repeated(batch.schema.names)) is not None:
                yield str(source.path), problem
                return
            batch.validate(full=True)  # offsets that a damaged file has wrong would be followed out of its memory
            for row in batch.to_pylist():
                number += 1
                yield f"{source.path}:{number}", row
    except (pyarrow.ArrowException, ValueError, OSError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        yield str(source.path), DataError(f"must be {kind} (got {reason})")
