"""Owns one Parquet file of a dataset: written by the worker that made its rows, whole or not at all, and weighed."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from dermaspark import storage
from dermaspark.dataset import PHOTOGRAPHS, DataFile
from dermaspark.without_pixels import read_without_pixels

ROWS_PER_GROUP = 256  # Parquet row group: about one batch of the reader's
BYTES_PER_GROUP = 8 << 20  # fewer rows of large photographs: a group of each copy is in memory until it is written


@contextmanager
def row_file(url: str, split: str, copy: int, bucket: int, schema: pa.Schema) -> Iterator[RowFile]:
    """The file of one split, copy and bucket in the dataset at `url`; it appears when the block has ended well.

    The same rows give the same bytes, however they come in batches.

    Args:
        schema: of what `add` is given, the columns that are kept; `image` is among them.
    """
    path = storage.join(PHOTOGRAPHS, f"split={split}", f"copy={copy}", f"bucket={bucket}", "rows.parquet")
    # A dictionary pays where values repeat, not for pixels and features.
    repeating = [field.name for field in schema if field.type in (pa.string(), pa.int32())]
    options = {"compression": "none", "use_dictionary": repeating, "write_statistics": False, "store_schema": False}
    with storage.replacing(storage.join(url, path)) as file:
        weighed = _Weighed(file)
        with pq.ParquetWriter(weighed, schema, **options) as writer:
            rows = RowFile(writer)
            yield rows
            rows.finish()
    _, without_pixels = read_without_pixels(storage.join(url, path))
    sha256 = weighed.sha256.hexdigest()
    rows.described = DataFile(path, split, copy, bucket, rows.number, weighed.tell(), sha256, without_pixels)


class RowFile:
    """Rows on their way into a file; when it is written, `described` says what is in it."""

    described: DataFile

    def __init__(self, writer: pq.ParquetWriter) -> None:
        self._writer = writer
        self._pending = writer.schema.empty_table()
        self.number = 0  # of rows written

    def add(self, batch: pa.RecordBatch) -> None:
        """More rows. OSError where they can't be written."""
        table = pa.Table.from_batches([batch]).select(self._pending.schema.names)
        self._pending = pa.concat_tables([self._pending, table])
        group = max(1, min(ROWS_PER_GROUP, BYTES_PER_GROUP // len(batch.column("image")[0].as_buffer())))
        while self._pending.num_rows >= group:
            self._write(group)

    def finish(self) -> None:
        """Write what is left."""
        if self._pending.num_rows:
            self._write(self._pending.num_rows)

    def _write(self, rows: int) -> None:
        self._writer.write_table(self._pending.slice(0, rows))
        self._pending = self._pending.slice(rows)
        self.number += rows


class _Weighed(io.RawIOBase):
    """Bytes on their way into a file: counted, and hashed."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._size = file, 0
        self.sha256 = hashlib.sha256()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._file.write(data)
        self.sha256.update(data)
        self._size += len(data)
        return len(data)

    def tell(self) -> int:
        return self._size
