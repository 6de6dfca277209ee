"""How rows come to their files: whole buckets, however the rows come."""

import pyarrow as pa
import pytest
from dermaspark.writing import by_bucket


@pytest.mark.parametrize("size", [1, 4, 20])
def test_a_bucket_is_given_whole_before_the_next(size):
    given = pa.RecordBatch.from_pydict(
        {"split": [*"aaaaabbbbb"], "bucket": [0] * 3 + [1] * 4 + [2] * 3, "n": range(10)}
    )
    batches = [given.slice(start, size) for start in range(0, 10, size)]
    buckets = [[n for part in bucket for n in part.column("n").to_pylist()] for bucket in by_bucket(batches)]
    assert buckets == [[0, 1, 2], [3, 4], [5, 6], [7, 8, 9]]
