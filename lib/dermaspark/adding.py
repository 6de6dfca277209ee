"""Tables of sums as rows in Spark, added up by key on the executors."""

import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame

from dermaspark.sums import Sums, by_i, total

SUMS = "cell int, i int, key array<long>, amount array<long>"  # cell: which photographs the sums are about


def as_batch(cell: int, sums: Sums) -> pa.RecordBatch:
    """A table of sums as rows of SUMS: long lists in few rows, which Spark moves and numpy adds up fast."""
    rows = [(cell, i, part.key, part.amount) for i, part in by_i(sums)]
    types = {"cell": pa.int32(), "i": pa.int32(), "key": pa.list_(pa.int64()), "amount": pa.list_(pa.int64())}
    arrays = [pa.array([row[k] for row in rows], kind) for k, kind in enumerate(types.values())]
    return pa.RecordBatch.from_arrays(arrays, names=list(types))


def add_up(counted: DataFrame) -> DataFrame:
    """All sums of one cell and one i in one row of SUMS."""
    return counted.groupBy("cell", "i").applyInArrow(_add, SUMS)


def sums_of(rows: pa.Table) -> Sums:
    """The sums in rows of SUMS."""
    return Sums(*(pc.list_flatten(rows[name].combine_chunks()).to_numpy() for name in Sums._fields))


def _add(key: tuple[pa.Scalar, ...], rows: pa.Table) -> pa.Table:
    cell, _ = key
    return pa.Table.from_batches([as_batch(cell.as_py(), total(sums_of(rows)))])
