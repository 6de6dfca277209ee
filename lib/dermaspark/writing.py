"""Writing the rows: training photographs in augmented copies, in an order and in files that the data alone decides."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate
from math import ceil
from typing import Any

import numpy as np
import pyarrow as pa
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from dermaspark.augment import Ranges, augment_all
from dermaspark.cleaning import clean
from dermaspark.config import Augment, Config, Image, to_dict
from dermaspark.photographs import in_chunks
from dermaspark.sparing import spared

ROWS_PER_GROUP = 256  # Parquet row group: about one batch of the reader's
BYTES_PER_FILE = 32 << 20
SMALLEST_FILE = 64  # rows; below it, fewer files than FILES_WANTED
FILES_WANTED = 16  # for each split and copy, so that ranks and executors can share them

ROWS_SCHEMA = "id string, image_id string, source string, label int, group string, image binary"
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


def expand_rows(
    rows: DataFrame, classes: list[str], counts: dict[str, int], columns: list[str], config: Config
) -> DataFrame:
    """The dataset's rows, augmented copies among them, in partitions and in an order that the data alone decides.

    Columns: `OWN_COLUMNS` but features and strangeness, and the groups table's `columns`.
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
    # Buckets numbered over all splits: a partition for each.
    before = dict(zip(buckets, accumulate(buckets.values(), initial=0), strict=False))
    number = looked_up(before, F.col("split")) + F.col("bucket")
    ordered = placed.repartitionById(sum(buckets.values()), number).sortWithinPartitions("order")
    expand = copies_of(config.augment, config.image, config.split.seed, columns)
    extra = "".join(f", {quoted(name)} string" for name in columns)
    return ordered.mapInArrow(spared(expand), f"{ROWS_SCHEMA}{extra}, order long, split string, copy int, bucket int")


def write_rows(rows: DataFrame, copies: int, url: str) -> None:
    """Write what `expand_rows` gave, a file for each split, copy and bucket: partitions don't decide the files."""
    # Concurrent writers keep the order of the rows; without them Spark would sort the pixels by folder.
    rows.sparkSession.conf.set("spark.sql.maxConcurrentOutputFileWriters", str(64 + 8 * (copies + 1)))
    writer = rows.drop("order").write.partitionBy("split", "copy", "bucket").option("compression", "none")
    writer = writer.option("parquet.block.row.count.limit", ROWS_PER_GROUP)
    writer.option("parquet.enable.dictionary#image", "false").parquet(url)


def looked_up(values: Mapping[str, Any], key: Column) -> Column:
    """The value of each key, null for one that `values` lacks."""
    return F.create_map(*[F.lit(x) for pair in values.items() for x in pair])[key]


def quoted(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"


def copies_of(settings: Augment, image: Image, seed: int, columns: list[str]) -> Any:
    """A mapInArrow function: each training row in `augment.copies` more copies, the others as they are."""
    shape = (image.height, image.width, 3)
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
            photograph = clean(np.frombuffer(pixels, np.uint8).reshape(shape), to_dict(image))
            numbers = range(settings.copies + 1 if split == "train" else 1)
            images += [copy.tobytes() for copy in augment_all(photograph, ranges, seed, key, numbers)]
            copy += numbers
            source_row += [row] * len(numbers)
        repeated = chunk.take(pa.array(source_row))
        arrays = {name: repeated.column(name) for name in [*kept, *columns, "order", "split", "bucket"]}
        arrays |= {"image": pa.array(images, pa.binary()), "copy": pa.array(copy, pa.int32())}
        names = [*kept, "image", *columns, "order", "split", "copy", "bucket"]
        return pa.RecordBatch.from_arrays([arrays[name] for name in names], names=names)

    return expand
