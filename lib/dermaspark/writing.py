"""Writing the rows: training photographs in augmented copies, in an order and in files that the data alone decides."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import asdict, fields
from itertools import accumulate, groupby
from math import ceil
from operator import itemgetter
from typing import Any

import numpy as np
import pyarrow as pa
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from dermaspark import storage
from dermaspark.augment import Ranges, augment_all
from dermaspark.cleaning import clean
from dermaspark.config import Augment, Config, Image, to_dict
from dermaspark.dataset import SPLITS, DataFile
from dermaspark.photographs import column_of, in_chunks
from dermaspark.row_file import RowFile, row_file
from dermaspark.sparing import Task, spared

BYTES_PER_FILE = 16 << 20  # a bucket is sorted in memory, and fetched as a whole
SMALLEST_FILE = 64  # rows; below it, fewer files than FILES_WANTED
FILES_WANTED = 16  # for each split and copy, so that ranks and executors can share them
TASKS_A_SLOT = 4  # that write, where there are so many buckets: each costs some 50 ms
BYTES_A_TASK = 8 << 20  # of photographs, at most, but for a bucket that is larger: Spark sorts them in memory

ROWS_SCHEMA = "id string, image_id string, source string, label int, group string, image binary"
FILE = ("split", "copy", "bucket")  # what decides the file that a row is in
Key = tuple[str, int, int]  # of `FILE`
SQL_TYPES: dict[Any, str] = {str: "string", int: "long"}
OWN_COLUMNS = (
    "id",
    "image_id",
    "source",
    "label",
    "group",
    "image",
    "features",
    "strangeness",
    "split",
    "copy",
    "bucket",
    "order",
)


def bucket_count(rows: int, row_bytes: int) -> int:
    """How many files the rows of a split are written to, for each copy; a function of the data alone."""
    return max(1, min(FILES_WANTED, rows // SMALLEST_FILE), ceil(rows * row_bytes / BYTES_PER_FILE))


def place_rows(
    rows: DataFrame, classes: list[str], counts: dict[str, int], columns: list[str], config: Config
) -> DataFrame:
    """The photographs' rows: partitions of whole buckets, one after the other, in an order that the data alone decides.

    Columns: those of `OWN_COLUMNS` that one row a photograph has, and the groups table's `columns`.
    """
    row_bytes = config.image.height * config.image.width * 3
    buckets = {split: bucket_count(n, row_bytes) for split, n in counts.items()}
    labels = {name: i for i, name in enumerate(classes)}
    placed = rows.select(
        *("id", "image_id", "source", "group", "image", "split", "order", *(quoted(name) for name in columns)),
        looked_up(labels, F.col("class_name")).alias("label"),
        # The upper 32 bits of `order` times the number of buckets: equal shares, in whole numbers.
        F.shiftright(F.shiftright("order", 31) * looked_up(buckets, F.col("split")), 32).cast("int").alias("bucket"),
    )
    # Buckets numbered over all splits.
    before = dict(zip(buckets, accumulate(buckets.values(), initial=0), strict=False))
    number = looked_up(before, F.col("split")) + F.col("bucket")
    slots = rows.sparkSession.sparkContext.defaultParallelism
    enough = max(TASKS_A_SLOT * slots, ceil(sum(counts.values()) * row_bytes / BYTES_A_TASK))
    tasks = min(sum(buckets.values()), enough)
    return placed.repartitionById(tasks, number % tasks).sortWithinPartitions("split", "bucket", "order")


def expand_rows(placed: DataFrame, expand: Task[pa.RecordBatch], columns: list[str]) -> DataFrame:
    """What `copies_of` makes of the rows that `place_rows` gave, in the same partitions and order."""
    extra = "".join(f", {quoted(name)} string" for name in columns)
    return placed.mapInArrow(spared(expand), f"{ROWS_SCHEMA}{extra}, order long, split string, copy int, bucket int")


def write_rows(rows: DataFrame, make: Task[pa.RecordBatch], url: str) -> list[DataFile]:
    """Write what `make` gives for each partition of `rows` to the dataset at `url`; the files, in a fixed order.

    A file for each split, copy and bucket, by the worker that made its rows: pixels stay out of the JVM. A partition
    holds all rows of its files, so a task that is run again writes the same again; `make` is given one bucket at a
    time, so that how many of them are in a partition decides nothing.

    Args:
        rows: in partitions as `place_rows` lays them out.
        make: gives batches of the columns `FILE`, `order`, and those that the files get.
    """

    def write(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        with storage.writing_to(f"output.path={url}"):
            files = [file for bucket in by_bucket(batches) for file in write_bucket(make(bucket))]
        if files:
            yield pa.RecordBatch.from_pylist([asdict(file.described) for file in files])

    def write_bucket(batches: Iterable[pa.RecordBatch]) -> list[RowFile]:
        files: dict[Key, RowFile] = {}
        with ExitStack() as opened:
            for batch in batches:
                for key, part in by_file(batch):
                    if key not in files:
                        kept = [field for field in batch.schema if field.name not in (*FILE, "order")]
                        files[key] = opened.enter_context(row_file(url, *key, pa.schema(kept)))
                    files[key].add(part)
        return [*files.values()]

    schema = ", ".join(f"{field.name} {SQL_TYPES[field.type]}" for field in fields(DataFile))
    written = [DataFile(**row.asDict()) for row in rows.mapInArrow(spared(write), schema).collect()]
    return sorted(written, key=lambda file: (SPLITS.index(file.split), file.copy, file.bucket))


def by_bucket(batches: Iterable[pa.RecordBatch]) -> Iterator[Iterator[pa.RecordBatch]]:
    """The rows of each bucket, which stand together: batches, gone through before the next bucket is asked for."""

    def parts() -> Iterator[tuple[Any, pa.RecordBatch]]:
        for batch in batches:
            start = 0
            places = zip(batch.column("split").to_pylist(), batch.column("bucket").to_pylist(), strict=True)
            for place, rows in groupby(places):
                yield place, batch.slice(start, length := len([*rows]))
                start += length

    for _, bucket in groupby(parts(), itemgetter(0)):
        yield (part for _, part in bucket)


def by_file(batch: pa.RecordBatch) -> Iterator[tuple[Key, pa.RecordBatch]]:
    """The rows of each file, in their order: (split, copy, bucket) and a batch."""
    rows: dict[Key, list[int]] = defaultdict(list)
    for row, key in enumerate(zip(*(batch.column(name).to_pylist() for name in FILE), strict=True)):
        rows[key].append(row)
    yield from ((key, batch.take(pa.array(numbers))) for key, numbers in rows.items())


def looked_up(values: Mapping[str, Any], key: Column) -> Column:
    """The value of each key, null for one that `values` lacks."""
    return F.create_map(*[F.lit(x) for pair in values.items() for x in pair])[key]


def quoted(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"


def copies_of(settings: Augment, image: Image, seed: int, columns: list[str]) -> Task[pa.RecordBatch]:
    """A mapInArrow function: each training row in `augment.copies` more copies, the others as they are."""
    shape, cleaning = (image.height, image.width, 3), to_dict(image)
    ranges = Ranges(**{name: value for name, value in to_dict(settings).items() if name != "copies"})
    kept = ["id", "image_id", "source", "label", "group"]

    def expand(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        yield from map(expand_chunk, in_chunks(batches))

    def expand_chunk(chunk: pa.RecordBatch) -> pa.RecordBatch:
        images: list[bytes] = []
        source_row: list[int] = []
        copy: list[int] = []
        keys = chunk.select(["id", "split", "image"]).to_pydict()
        for row, (key, split, pixels) in enumerate(zip(keys["id"], keys["split"], keys["image"], strict=True)):
            photograph = clean(np.frombuffer(pixels, np.uint8).reshape(shape), cleaning)
            numbers = range(settings.copies + 1 if split == "train" else 1)
            images += [copy.tobytes() for copy in augment_all(photograph, ranges, seed, key, numbers)]
            copy += numbers
            source_row += [row] * len(numbers)
        repeated = chunk.select([*kept, *columns, "order", "split", "bucket"]).take(pa.array(source_row))
        arrays = {name: repeated.column(name) for name in repeated.schema.names}
        arrays |= {"image": column_of(images), "copy": pa.array(copy, pa.int32())}
        names = [*kept, "image", *columns, "order", "split", "copy", "bucket"]
        return pa.RecordBatch.from_arrays([arrays[name] for name in names], names=names)

    return expand
