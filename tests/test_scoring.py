"""What is scored at once: rows gathered over files, and files that go together, by the data alone."""

import numpy as np
import pyarrow as pa
import pytest
from dermaspark import scoring
from dermaspark.dataset import DataFile


def batch(start: int, rows: int, width: int = 1) -> pa.RecordBatch:
    values = pa.array(np.arange(start, start + rows))
    return pa.RecordBatch.from_pydict({"row": values, "bytes": pa.array([b"x" * width] * rows)})


def test_rows_are_gathered_in_order_none_lost():
    sizes = [100, 1000, 1, 2000, 5]
    starts = np.cumsum([0, *sizes])
    found = list(scoring.gathered(batch(start, n) for start, n in zip(starts, sizes, strict=False)))
    assert [each.num_rows for each in found] == [1100, 2001, 5]
    assert np.concatenate([each.column("row").to_numpy() for each in found]).tolist() == list(range(3106))


def test_wide_rows_are_not_gathered_beyond_their_bytes():
    wide = scoring.BYTES_SCORED // 100
    found = list(scoring.gathered(batch(60 * i, 60, wide) for i in range(4)))
    assert [each.num_rows for each in found] == [120, 120]


def test_nothing_gathers_to_nothing():
    assert list(scoring.gathered([])) == []


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([600, 600, 600], [["0", "1"], ["2"]]),
        ([5000, 1, 1], [["0"], ["1", "2"]]),
        ([0, 1024, 0, 3], [["0", "1"], ["2", "3"]]),
        ([], []),
    ],
)
def test_files_of_some_thousand_rows_go_together(rows: list[int], expected: list[list[str]]):
    files = [DataFile(str(i), "train", 0, i, n, 1, "", "") for i, n in enumerate(rows)]
    assert scoring.portioned(files) == expected
