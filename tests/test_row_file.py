"""A dataset's file holds its rows in order, is the same however they come, is weighed right, and is whole or absent."""

import hashlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from dermaspark import row_file as module
from dermaspark.row_file import RowFile, row_file

ROWS = 600
SCHEMA = pa.schema([("id", pa.string()), ("image", pa.binary()), ("features", pa.list_(pa.float32()))])


def rows(pixels: int = 12) -> pa.RecordBatch:
    rng = np.random.default_rng(0)
    images = [rng.bytes(pixels) for _ in range(ROWS)]
    features = rng.normal(size=(ROWS, 3)).astype(np.float32)
    return pa.RecordBatch.from_arrays(
        [pa.array([f"p{i}" for i in range(ROWS)]), pa.array(images), pa.array(features.tolist(), SCHEMA.types[2])],
        schema=SCHEMA,
    )


def write(folder: Path, batch: pa.RecordBatch, size: int) -> RowFile:
    with row_file(f"file://{folder}", "train", 2, 7, batch.schema) as file:
        for start in range(0, batch.num_rows, size):
            file.add(batch.slice(start, size))
    return file


def groups(path: Path) -> list[int]:
    about = pq.read_metadata(path)
    return [about.row_group(i).num_rows for i in range(about.num_row_groups)]


def test_the_rows_alone_decide_the_bytes_and_the_file_is_what_is_said_of_it(tmp_path):
    files = [write(tmp_path / str(size), rows(), size).described for size in (1, 64, 256, ROWS)]
    assert all(file == files[0] for file in files)
    path = tmp_path / "64" / files[0].path
    assert files[0].path == "photographs/split=train/copy=2/bucket=7/rows.parquet"
    assert (files[0].split, files[0].copy, files[0].bucket, files[0].rows) == ("train", 2, 7, ROWS)
    assert (files[0].bytes, files[0].sha256) == (path.stat().st_size, hashlib.sha256(path.read_bytes()).hexdigest())
    assert pq.ParquetFile(path).read().equals(pa.Table.from_batches([rows()]))
    assert groups(path) == [256, 256, 88]


def test_a_group_of_large_photographs_has_fewer_rows(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "BYTES_PER_GROUP", 100 * 12)
    assert groups(tmp_path / write(tmp_path, rows(), 64).described.path) == [100] * 6


@pytest.mark.parametrize("rows_given", [0, ROWS])
def test_a_file_that_came_to_no_end_is_not_there(tmp_path, rows_given):
    def spoil(file: RowFile) -> None:
        if rows_given:
            file.add(rows())
        raise ValueError("spoiled")

    with pytest.raises(ValueError, match="spoiled"), row_file(f"file://{tmp_path}", "val", 0, 0, SCHEMA) as file:
        spoil(file)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
