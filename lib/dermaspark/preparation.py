"""From photographs to a dataset: read each once, split, augment the training rows, write, and say what was done."""

import logging
from collections.abc import Iterable, Iterator
from math import ceil
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from pyspark import StorageLevel
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from dermaspark import catalog, storage
from dermaspark.augment import Ranges, augment
from dermaspark.config import Augment, Config, Image, Input, to_dict
from dermaspark.dataset import (
    ENTRIES,
    MANIFEST,
    PHOTOGRAPHS,
    SPLITS,
    UNREADABLE,
    Manifest,
    take_inventory,
    write_manifest,
)
from dermaspark.errors import UserError
from dermaspark.photo import Unreadable, decode
from dermaspark.randomness import hash64
from dermaspark.split import assign

log = logging.getLogger("dermaspark")

MAX_FILE_BYTES = 2**30  # a larger "photograph" is set aside before it is read
PHOTOGRAPHS_PER_BATCH = 64  # in memory at a time, in each Python worker
ROWS_PER_GROUP = 256  # Parquet row group: about one batch of the reader's
BYTES_PER_FILE = 32 << 20
SMALLEST_FILE = 64  # rows; below it, fewer files than FILES_WANTED
FILES_WANTED = 16  # for each split and copy, so that ranks and executors can share them
DEFAULT_OUTPUT = "runs/dataset"

ROWS_SCHEMA = "id string, image_id string, source string, label int, group string, image binary"


def prepare(spark: SparkSession, config: Config) -> Manifest:
    """Write the dataset that `config` asks for and return its manifest.

    Raises:
        UserError: no photographs, too many unreadable ones, a class without training photographs.
    """
    url = storage.resolve(config.output.path or DEFAULT_OUTPUT)
    named = catalog.sources(config.input.path)
    folders = catalog.class_folders(named)
    storage.claim(url, MANIFEST, "output.path", config.overwrite, ENTRIES)

    # ---- find and read ----
    found = catalog.find(spark, folders).persist(StorageLevel.DISK_ONLY)
    kinds = {row["kind"]: row["count"] for row in found.groupBy("kind").count().collect()}
    total = kinds.get("photograph", 0) + kinds.get("misnamed", 0)
    log.info("found %d photographs in %d class folders, %d other files", total, len(folders), kinds.get("other", 0))
    photographs = read(found.where("kind != 'other'"), total, config.image, config.input, config.split.seed)
    photographs = photographs.persist(StorageLevel.DISK_ONLY)
    unreadable = set_aside(photographs, total, config.input.max_bad_fraction, url)

    # ---- split ----
    readable = photographs.where("status = 'ok'")
    groups = readable.withColumn("group", F.col("id"))
    splits = split_by_class(groups, config).persist(StorageLevel.DISK_ONLY)
    class_counts = count_classes(readable, splits)
    classes = catalog.class_names({(split, name): n for split, by in class_counts.items() for name, n in by.items()})
    counts = {split: sum(class_counts[split].values()) for split in SPLITS}
    log.info("split: %s", ", ".join(f"{split} {n}" for split, n in counts.items()))

    # ---- augment and write ----
    rows = groups.join(splits, "id")
    write_rows(rows, classes, counts, config, storage.join(url, PHOTOGRAPHS))
    manifest = Manifest(
        classes=classes,
        preprocessing=preprocessing(config.image, config.input),
        augment=to_dict(config.augment),
        split=to_dict(config.split),
        sources=named,
        columns=[],
        counts={"found": total, **counts, "left_out": 0, "unreadable": unreadable},
        class_counts=class_counts,
        protocol="as published",
        files=take_inventory(spark, url),
    )
    write_manifest(url, manifest)
    for table in (found, photographs, splits):
        table.unpersist()
    return manifest


def preprocessing(image: Image, source: Input) -> dict[str, Any]:
    """All that decides a photograph's pixels; training and use share it through the bundle."""
    return {"height": image.height, "width": image.width, "channels": 3, "max_pixels": source.max_pixels}


def read(found: DataFrame, total: int, image: Image, source: Input, seed: int) -> DataFrame:
    """Each photograph read once: `found`'s columns, `status` ('ok' or the reason), `image` and `order`.

    `image` is uint8 (height, width, 3) as bytes, null where the photograph can't be read; `order` is uniform in
    [0, 2**63), the photograph's place in the shuffled dataset.
    """

    def read_batches(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for start in range(0, batch.num_rows, PHOTOGRAPHS_PER_BATCH):
                chunk = batch.slice(start, PHOTOGRAPHS_PER_BATCH)
                names = chunk.select(["path", "kind", "id"]).to_pydict()
                read = [read_one(*row, image, source) for row in zip(names["path"], names["kind"], strict=True)]
                order = [hash64(seed, "order", key) for key in names["id"]]
                yield pa.RecordBatch.from_arrays(
                    [
                        *chunk.columns,
                        pa.array([status for status, _ in read], pa.string()),
                        pa.array([pixels for _, pixels in read], pa.binary()),
                        pa.array(order, pa.int64()),
                    ],
                    names=[*chunk.schema.names, "status", "image", "order"],
                )

    tasks = max(1, min(ceil(total / PHOTOGRAPHS_PER_BATCH), 10_000))
    spread = found.repartition(tasks, "id")
    return spread.mapInArrow(read_batches, f"{catalog.SCHEMA}, status string, image binary, order long")


def read_one(path: str, kind: str, image: Image, source: Input) -> tuple[str, bytes | None]:
    """'ok' and the pixels, or why not and nothing."""
    if kind == "misnamed":
        return "the file's name is not UTF-8", None
    try:
        fs, name = storage.locate(path)
        if fs.size(name) > MAX_FILE_BYTES:
            return f"larger than {MAX_FILE_BYTES >> 20} MiB", None
        pixels = decode(storage.read_bytes(path), image.height, image.width, source.max_pixels)
    except Unreadable as error:
        return error.reason, None
    except OSError as error:
        return f"no access ({type(error).__name__})", None
    return "ok", pixels.tobytes()


def set_aside(photographs: DataFrame, total: int, max_bad_fraction: float, url: str) -> int:
    """Write the table of unreadable photographs; return how many there are."""
    bad = photographs.where("status != 'ok'")
    bad = bad.select("id", "path", "source", "given_split", "class_name", F.col("status").alias("reason"))
    bad.coalesce(1).sort("id").write.parquet(storage.join(url, UNREADABLE))
    n = bad.count()
    first = bad.sort("id").first()
    if first:
        log.warning("set aside %d of %d photographs, e.g. %s: %s", n, total, first["path"], first["reason"])
    if first and n > max_bad_fraction * total:
        raise UserError(
            f"{n} of {total} photographs can't be read, e.g. {first['path']}: {first['reason']}; "
            f"more than input.max_bad_fraction={max_bad_fraction}: repair or remove them, or raise it"
        )
    return n


def split_by_class(photographs: DataFrame, config: Config) -> DataFrame:
    """`id` and `split` of every photograph; one class at a time in an executor's memory."""
    validation, seed = config.split.validation, config.split.seed

    def assign_class(table: pd.DataFrame) -> pd.DataFrame:
        return assign(table, validation, seed)

    names = photographs.select("id", "group", "given_split", "class_name")
    return names.groupBy("class_name").applyInPandas(assign_class, "id string, split string")


def count_classes(photographs: DataFrame, splits: DataFrame) -> dict[str, dict[str, int]]:
    counted = photographs.select("id", "class_name").join(splits, "id").groupBy("split", "class_name").count()
    result: dict[str, dict[str, int]] = {split: {} for split in SPLITS}
    for row in sorted(counted.collect()):
        result[row["split"]][row["class_name"]] = row["count"]
    return result


def bucket_count(rows: int, row_bytes: int) -> int:
    """How many files the rows of a split are written to, for each copy; a function of the data alone."""
    return max(1, min(FILES_WANTED, rows // SMALLEST_FILE), ceil(rows * row_bytes / BYTES_PER_FILE))


def write_rows(rows: DataFrame, classes: list[str], counts: dict[str, int], config: Config, url: str) -> None:
    """Write the rows by bucket of their `order`, so that partitions and executors don't decide the files."""
    row_bytes = config.image.height * config.image.width * 3
    buckets = {split: bucket_count(n, row_bytes) for split, n in counts.items()}
    of_split = F.create_map(*[F.lit(x) for pair in buckets.items() for x in pair])
    label = F.create_map(*[F.lit(x) for i, name in enumerate(classes) for x in (name, i)])
    placed = rows.select(
        *("id", "image_id", "source", "group", "image", "split", "order"),
        label[F.col("class_name")].alias("label"),
        # The upper 32 bits of `order` times the number of buckets: equal shares, in whole numbers.
        F.shiftright(F.shiftright("order", 31) * of_split[F.col("split")], 32).cast("int").alias("bucket"),
    )
    ordered = placed.repartitionByRange(sum(buckets.values()), "split", "bucket")
    ordered = ordered.sortWithinPartitions("split", "bucket", "order")
    expand = copies_of(config.augment, config.image, config.split.seed)
    expanded = ordered.mapInArrow(expand, f"{ROWS_SCHEMA}, split string, copy int, bucket int")
    # Concurrent writers keep the order of the rows; without them Spark would sort the pixels by folder.
    spark = rows.sparkSession
    spark.conf.set("spark.sql.maxConcurrentOutputFileWriters", str(64 + 8 * (config.augment.copies + 1)))
    writer = expanded.write.partitionBy("split", "copy", "bucket").option("compression", "none")
    writer = writer.option("parquet.block.row.count.limit", ROWS_PER_GROUP)
    writer.option("parquet.enable.dictionary#image", "false").parquet(url)


def copies_of(settings: Augment, image: Image, seed: int) -> Any:
    """A mapInArrow function: each training row in `augment.copies` more copies, the others as they are."""
    shape = (image.height, image.width, 3)
    ranges = Ranges(**{name: value for name, value in to_dict(settings).items() if name != "copies"})
    kept = ["id", "image_id", "source", "label", "group"]

    def expand(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for start in range(0, batch.num_rows, PHOTOGRAPHS_PER_BATCH):
                yield expand_chunk(batch.slice(start, PHOTOGRAPHS_PER_BATCH))

    def expand_chunk(chunk: pa.RecordBatch) -> pa.RecordBatch:
        images: list[bytes] = []
        source_row: list[int] = []
        copy: list[int] = []
        keys = chunk.select(["id", "split", "image"]).to_pydict()
        for row, (key, split, pixels) in enumerate(zip(keys["id"], keys["split"], keys["image"], strict=True)):
            photograph = np.frombuffer(pixels, np.uint8).reshape(shape)
            numbers = range(settings.copies + 1 if split == "train" else 1)
            images += [augment(photograph, ranges, seed, key, number).tobytes() for number in numbers]
            copy += numbers
            source_row += [row] * len(numbers)
        repeated = chunk.take(pa.array(source_row))
        columns = {name: repeated.column(name) for name in [*kept, "split", "bucket"]}
        columns |= {"image": pa.array(images, pa.binary()), "copy": pa.array(copy, pa.int32())}
        names = [*kept, "image", "split", "copy", "bucket"]
        return pa.RecordBatch.from_arrays([columns[name] for name in names], names=names)

    return expand
