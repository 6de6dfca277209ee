"""A dataset's file without its pixels, most of its bytes: who needs features alone reads and checks no more."""

import hashlib
from collections.abc import Iterator

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from dermaspark.storage import locate

COLUMN = "image"


def read_without_pixels(url: str) -> tuple[NDArray[np.uint8], str]:
    """A Parquet file, uint8 (bytes,), anything in place of `COLUMN`'s pages; SHA-256 of all other bytes, in hex.

    The footer, which says where these pages are, is among the other bytes. Raises ValueError or OSError for what is
    no Parquet file.
    """
    fs, path = locate(url)
    with fs.open(path, "rb") as file:
        footer = pq.read_metadata(file)
        data = np.empty(file.seek(0, 2), np.uint8)  # zeros for the pixels would take a fourth of the time
        digest = hashlib.sha256()
        for start, end in _around(footer, len(data)):
            stretch = data.data[start:end]
            file.seek(start)
            file.readinto(stretch)
            digest.update(stretch)
    return data, digest.hexdigest()


def _around(footer: pq.FileMetaData, size: int) -> Iterator[tuple[int, int]]:
    """Start and end of each stretch of other bytes than those of `COLUMN`, in order. ValueError for a false footer."""
    position = 0
    for number in range(footer.num_row_groups):
        group = footer.row_group(number)
        for chunk in (group.column(i) for i in range(group.num_columns)):
            if chunk.path_in_schema == COLUMN:
                start, end = chunk.data_page_offset, chunk.data_page_offset + chunk.total_compressed_size
                if not position <= start <= end <= size:
                    raise ValueError("a column's pages lie where they can't")
                yield position, start
                position = end
    yield position, size
