"""Scoring in Spark: a bundle on every executor turns photographs into predictions, one row a photograph."""

import functools
from collections.abc import Iterable, Iterator
from itertools import accumulate, groupby
from math import ceil
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from dermaspark import storage
from dermaspark.catalog import path_of
from dermaspark.cleaning import clean
from dermaspark.dataset import UNREADABLE, DataFile, Manifest, digest, read_checked
from dermaspark.featurising import COLUMN, STRANGENESS
from dermaspark.photographs import images_of, in_chunks, read_pixels
from dermaspark.sparing import spared, sparing_tensorflow

ROWS_PER_BATCH = 256  # that are read at a time
ROWS_PER_FILE = 50_000  # of predictions, about and at most: a file is in memory until it is whole
ROWS_SCORED, BYTES_SCORED = 1024, 4 << 20  # by the network at a time: it works on few rows at twice the cost of each
SCORES = "predicted string, probability double, probabilities array<double>, strangeness float, status string"
REFUSED = "refused: not like the photographs that the model was trained on"


def score_dataset(
    spark: SparkSession, model_url: str, document: dict[str, Any], url: str, manifest: Manifest, to: str
) -> None:
    """Write predictions for every photograph of a dataset (copy 0) to the folder `to`, as Parquet.

    By the workers that make them: by way of the JVM it took a third of the time. A task's file is named by what it
    scores, so a task that is run again writes the same file again. `document` is the bundle's.

    Columns: split, id, path, image_id, source, group, label (name), the groups table's, and those of `SCORES`.
    """
    files = {file.path: file for file in manifest.files if file.copy == 0}
    splits = dict.fromkeys(file.split for file in files.values())
    portions = [portion for split in splits for portion in portioned(manifest.of(split))]
    enough = ceil(sum(file.rows for file in files.values()) / ROWS_PER_FILE)
    tasks = min(len(portions), max(4 * spark.sparkContext.defaultParallelism, enough))
    shares = [(number, portions[number::tasks]) for number in range(tasks)]
    dataset_id, version = manifest.id, digest(document)
    classes, reads, names = document["classes"], document["reads"], pa.array(manifest.classes)
    more = [STRANGENESS] if reads == COLUMN else []  # a model that reads pixels can't tell
    kept = ["id", "image_id", "source", "group", *manifest.columns]

    def score_portion(paths: list[str]) -> Iterator[pa.RecordBatch]:
        columns = [*kept, "label", reads, *more]
        for rows in gathered(rows for path in paths for rows in read_rows(url, files[path], columns)):
            probabilities = loaded(model_url, version).score(inputs_of(rows, reads, manifest.preprocessing))
            strangeness = rows.column(STRANGENESS) if STRANGENESS in more else None
            known = {name: rows.column(name) for name in kept}
            known["path"] = pa.array([path_of(key, manifest.sources) for key in known["id"].to_pylist()], pa.string())
            known["label"] = names.take(rows.column("label"))
            split = _constant(files[paths[0]].split, rows.num_rows)
            yield _batch({"split": split, **known, **score(probabilities, strangeness, classes)})

    def write_shares(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for share in (row for batch in batches for row in batch.to_pylist()):
            scored = pa.Table.from_batches(rows for paths in share["files"] for rows in score_portion(paths))
            write_table(storage.join(to, f"part-{share['number']:05}-{dataset_id}.parquet"), scored)
        yield from ()

    table = spark.createDataFrame(shares, "number int, files array<array<string>>")
    table.repartitionById(tasks, "number").mapInArrow(spared(write_shares), "number int").collect()


def unscored(url: str, scored: DataFrame) -> DataFrame:
    """The photographs that the dataset at `url` set aside, in the columns of those that were scored."""
    bad = scored.sparkSession.read.parquet(storage.literal(storage.join(url, UNREADABLE))).select(
        *("id", "path", "source"),
        F.col("given_split").alias("split"),
        F.col("class_name").alias("label"),
        F.col("reason").alias("status"),
    )
    return scored.limit(0).unionByName(bad, allowMissingColumns=True)


def score_photographs(model_url: str, document: dict[str, Any], found: DataFrame, total: int) -> DataFrame:
    """Predictions for photographs in files, read as the bundle's `document` says.

    Args:
        found: columns id, path, image_id and kind, as `catalog` gives them.

    Returns:
        `found`'s columns but kind, and those of `SCORES`.
    """
    spec, classes, version = document["preprocessing"], document["classes"], digest(document)
    photographs = read_pixels(found, total, spec["height"], spec["width"], spec["max_pixels"])
    kept = [name for name in found.columns if name != "kind"]

    def score_batches(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for rows in in_chunks(batches, ROWS_PER_BATCH):
            readable = np.flatnonzero(rows.column("image").is_valid().to_numpy(zero_copy_only=False))
            pixels = inputs_of(rows.take(pa.array(readable)), "image", spec)
            images = np.array([clean(one, spec) for one in pixels], np.uint8).reshape(pixels.shape)
            probabilities, strangeness = loaded(model_url, version).examine(images)
            scores = score(probabilities, strangeness, classes)
            # A photograph that was not read takes a row of nulls: take() gives them for a null index.
            place = np.full(rows.num_rows, -1)
            place[readable] = np.arange(len(readable))
            index = pa.array(place, pa.int32(), mask=place < 0)
            columns = {name: rows.column(name) for name in kept}
            columns |= {name: column.take(index) for name, column in scores.items() if name != "status"}
            yield _batch({**columns, "status": rows.column("status")})

    types = {field.name: field.dataType.simpleString() for field in found.schema}
    schema = ", ".join(f"{name} {types[name]}" for name in kept) + f", {SCORES}"
    return photographs.mapInArrow(spared(score_batches), schema)


def write_table(url: str, table: pa.Table) -> None:
    """A Parquet file; UserError where it can't be written."""
    buffer = pa.BufferOutputStream()
    pq.write_table(table, buffer)
    with storage.writing_to(url):
        storage.write_bytes(url, buffer.getvalue().to_pybytes())


def score(probabilities: NDArray[np.float64], strangeness: Any, classes: list[str]) -> dict[str, pa.Array]:
    """The columns of `SCORES` for probabilities (n, classes) and float32 strangeness (n,), where it is known."""
    best = probabilities.argmax(axis=1)
    flat = pa.array(probabilities.ravel(), pa.float64())
    offsets = pa.array(np.arange(len(best) + 1) * len(classes), pa.int32())
    return {
        "predicted": pa.array(classes, pa.string()).take(pa.array(best)),
        "probability": pa.array(probabilities[np.arange(len(best)), best], pa.float64()),
        "probabilities": pa.ListArray.from_arrays(offsets, flat),
        "strangeness": pa.nulls(len(best), pa.float32()) if strangeness is None else pa.array(strangeness),
        "status": _constant("ok", len(best)),
    }


def refuse(predictions: DataFrame) -> DataFrame:
    """Predictions without those for photographs that are too strange, which `status` says instead."""
    strange = F.coalesce(F.col(STRANGENESS) > 1, F.lit(False))
    hidden = {name: F.when(~strange, F.col(name)) for name in ("predicted", "probability", "probabilities")}
    return predictions.withColumns({**hidden, "status": F.when(strange, REFUSED).otherwise(F.col("status"))})


@functools.lru_cache(maxsize=1)
def loaded(model_url: str, version: str) -> Any:
    """The bundle, loaded once a Python worker; workers share the cores, so TensorFlow gets one thread in each.

    version: the digest of its document, since a worker may outlive a model, and find another one at its URL.
    """
    with sparing_tensorflow():
        from dermaspark import bundle

        spec = bundle.read_document(model_url)["preprocessing"]
        model = bundle.load(model_url)
        model.probabilities(np.zeros((1, spec["height"], spec["width"], spec["channels"]), np.uint8))
    return model


def portioned(files: list[DataFile]) -> list[list[str]]:
    """Paths of files of one split, so many together as hold some ROWS_SCORED rows: what is scored at once."""
    before = accumulate((file.rows for file in files), initial=0)
    portions = groupby(zip(before, files, strict=False), key=lambda pair: pair[0] // ROWS_SCORED)
    return [[file.path for _, file in portion] for _, portion in portions]


def gathered(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The same rows in batches of at least ROWS_SCORED rows or BYTES_SCORED bytes; the last may be smaller."""
    waiting: list[pa.RecordBatch] = []
    for batch in batches:
        waiting.append(batch)
        rows, size = sum(each.num_rows for each in waiting), sum(each.nbytes for each in waiting)
        if rows >= ROWS_SCORED or size >= BYTES_SCORED:
            yield pa.concat_batches(waiting)
            waiting = []
    if waiting:
        yield pa.concat_batches(waiting)


def read_rows(url: str, file: DataFile, columns: list[str]) -> Iterator[pa.RecordBatch]:
    """Columns of a file of the dataset at `url`; UserError where it is not the one that the manifest names."""
    data = pa.BufferReader(read_checked(url, file, pixels="image" in columns))
    yield from pq.ParquetFile(data).iter_batches(ROWS_PER_BATCH, columns=columns)


def inputs_of(rows: pa.RecordBatch, column: str, spec: dict[str, Any]) -> NDArray[Any]:
    """The column image, uint8 (n, height, width, 3), or features, float32 (n, width)."""
    if column == "features":
        flat: NDArray[Any] = pc.list_flatten(rows.column(column)).to_numpy(zero_copy_only=False)
        return flat.reshape(rows.num_rows, -1)
    return images_of(rows.column(column), spec["height"], spec["width"])


def _constant(text: str, n: int) -> pa.Array:
    return pa.repeat(pa.scalar(text, pa.string()), n)


def _batch(columns: dict[str, Any]) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))
